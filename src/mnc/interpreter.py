"""Let nothing hold the interpreter for long, so that the event loop is never late by much.

The event loop lets go of the interpreter at each system call, and a thread that decodes or encodes
goes on then. Left to itself, Python asks such a thread to let go after five milliseconds. On a busy
machine each of a loop's many turns was late by that and more, and heartbeats by half a second.

Python's collector of cyclic garbage lets nobody else go on while it looks through all objects.
"""

from __future__ import annotations

import gc
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["collect_seldom", "hasten_threads", "hidden_from_collector"]

_SWITCH_S = 0.0005
"""A turn takes about as long; shorter ones would be spent on the switching."""

_YOUNG = (10_000, 10, 10)
"""Objects made before the youngest are looked through, which takes a third of a millisecond. A
reply makes so many; with Python's 700 a drain took 15 % more of the processor."""

_MANY = 50_000
"""Objects that the collector looks through in a few milliseconds."""

_COLLECT_EACH_S = 60.0
"""How long garbage in cycles may be hidden, too. To collect everything takes 16 ms, ten times as
long as a text of a megabyte takes to be decoded and encoded."""

_collect_at = 0.0


def hasten_threads() -> None:
    """Have a thread that others wait for let go of the interpreter after half a millisecond."""
    sys.setswitchinterval(_SWITCH_S)


def collect_seldom() -> None:
    """Have the collector look through as many objects as a reply makes at once."""
    gc.set_threshold(*_YOUNG)


@contextmanager
def hidden_from_collector() -> Iterator[None]:
    """Make objects, without cycles, that the collector doesn't look through if they are many.

    A document of a million values would have it look through them several times: each time takes a
    tenth of a second, and several on a busy machine. Whatever else there is at the end isn't looked
    through either, until a later call collects everything.
    """
    global _collect_at  # noqa: PLW0603 - the collector is the process's own
    now = time.monotonic()
    if now >= _collect_at:
        _collect_at = now + _COLLECT_EACH_S
        gc.unfreeze()
        gc.collect()
    gc.disable()
    try:
        yield
    finally:
        if gc.get_count()[0] >= _MANY:
            gc.freeze()
        gc.enable()
