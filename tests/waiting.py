"""Waiting in tests: for a condition and never for a while."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

__all__ = ["wait_until"]

_T = TypeVar("_T")

_POLL_INTERVAL_S = 0.02


def wait_until(condition: Callable[[], _T], *, timeout_s: float, what: str) -> _T:
    """Poll `condition` until what it returns is true, and return that.

    Raises AssertionError, which says `what` was waited for, after `timeout_s` seconds.
    """
    deadline = time.monotonic() + timeout_s
    while not (value := condition()):
        assert time.monotonic() < deadline, f"waited {timeout_s:g} s in vain for: {what}"
        time.sleep(_POLL_INTERVAL_S)
    return value
