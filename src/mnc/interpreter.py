"""Make threads take turns quickly, so that the event loop is never late by much.

The event loop lets go of the interpreter at each system call, and a thread that decodes or encodes
goes on then. Left to itself, Python asks such a thread to let go after five milliseconds. On a busy
machine each of a loop's many turns was late by that and more, and heartbeats by half a second.
"""

from __future__ import annotations

import sys

__all__ = ["hasten_threads"]

_SWITCH_S = 0.0005
"""A turn takes about as long; shorter ones would be spent on the switching."""


def hasten_threads() -> None:
    """Have a thread that others wait for let go of the interpreter after half a millisecond."""
    sys.setswitchinterval(_SWITCH_S)
