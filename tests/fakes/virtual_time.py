"""Virtual time: a test's hours pass in an instant, and a test that hangs fails at once."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import wraps
from typing import ParamSpec

import trio
from trio.testing import MockClock

__all__ = ["virtual_time"]

_P = ParamSpec("_P")

_TEST_TIMEOUT_S = 86_400
"""In virtual time; reached when nothing else is left to wait for."""


def virtual_time(test: Callable[_P, Awaitable[None]]) -> Callable[_P, None]:
    """Run a test with a clock that jumps to the next deadline whenever every task waits."""

    @wraps(test)
    def run(*args: _P.args, **kwargs: _P.kwargs) -> None:
        async def bounded() -> None:
            with trio.fail_after(_TEST_TIMEOUT_S):
                await test(*args, **kwargs)

        trio.run(bounded, clock=MockClock(autojump_threshold=0))

    return run
