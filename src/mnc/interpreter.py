"""Let nothing hold the interpreter for long, so that the event loop is never late by much.

The event loop lets go of the interpreter at each system call, and a thread that decodes or encodes
goes on then. Left to itself, Python asks such a thread to let go after five milliseconds. On a busy
machine each of a loop's many turns was late by that and more, and heartbeats by half a second.

Python's collector of cyclic garbage lets nobody else go on while it looks through all objects.
"""

from __future__ import annotations

import gc
import sys
import threading
from typing import ClassVar

__all__ = ["CollectorRest", "hasten_threads"]

_SWITCH_S = 0.0005
"""A turn takes about as long; shorter ones would be spent on the switching."""


def hasten_threads() -> None:
    """Have a thread that others wait for let go of the interpreter after half a millisecond."""
    sys.setswitchinterval(_SWITCH_S)


class CollectorRest:
    """While one of these exists, nobody looks for garbage in cycles.

    Decoding makes none, and a document of a million values makes the collector look through them
    several times: each time takes a tenth of a second, and several on a busy machine.
    """

    _lock: ClassVar = threading.Lock()
    _count: ClassVar = 0

    def __init__(self) -> None:
        with self._lock:
            CollectorRest._count += 1
            gc.disable()

    def __del__(self) -> None:
        with self._lock:
            CollectorRest._count -= 1
            if CollectorRest._count == 0:
                gc.enable()
