"""Virtual time: a test's hours pass in an instant, and a test that hangs fails at once."""

from __future__ import annotations

import sys
from collections.abc import Awaitable, Callable
from functools import wraps
from typing import ParamSpec
from unittest.mock import patch

import trio
from trio._core import _run  # to seed it: there is no public way
from trio.testing import MockClock

from mnc.capture import copier, reader

__all__ = ["run_in_virtual_time", "virtual_time"]

_P = ParamSpec("_P")

_TIMEOUT_S = 86_400
"""In virtual time; reached when nothing else is left to wait for."""


def run_in_virtual_time(
    function: Callable[_P, Awaitable[None]], *args: _P.args, **kwargs: _P.kwargs
) -> None:
    """Run `function` with a clock that jumps to the next deadline whenever every task waits.

    Tasks that can run at the same time do so in an order that is random, and always the same.
    Nothing is encoded in a thread: virtual time doesn't wait for threads.
    """
    _run._r.seed(0)

    async def bounded() -> None:
        with trio.fail_after(_TIMEOUT_S):
            await function(*args, **kwargs)

    with (
        patch.object(reader, "_INLINE_ENCODE_BYTES", sys.maxsize),
        patch.object(copier, "_INLINE_ENCODE_BYTES", sys.maxsize),
    ):
        trio.run(bounded, clock=MockClock(autojump_threshold=0))


def virtual_time(test: Callable[_P, Awaitable[None]]) -> Callable[_P, None]:
    """Make a test run in virtual time."""

    @wraps(test)
    def run(*args: _P.args, **kwargs: _P.kwargs) -> None:
        run_in_virtual_time(test, *args, **kwargs)

    return run
