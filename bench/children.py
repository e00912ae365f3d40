"""Parts of a bench in processes of their own, so that they don't wait for one another's turn."""

from __future__ import annotations

import gc
import multiprocessing
import time
from collections.abc import Callable, Sequence
from multiprocessing.connection import Connection
from typing import Any, Concatenate, Generic, ParamSpec, TypeVar

__all__ = ["Child", "Ready", "begin_together"]

_P = ParamSpec("_P")
_T = TypeVar("_T")

_START_TIMEOUT_S = 30.0
_END_TIMEOUT_S = 300.0
_LEAD_S = 0.2
_SPAWN = multiprocessing.get_context("spawn")

Ready = Callable[[], float]
"""Called by a child when it has made its connections; returns when all begin, by the monotonic
clock, which processes share."""


class Child(Generic[_T]):
    """Calls a function of a module in a new process, without the collector of cyclic garbage."""

    def __init__(
        self, work: Callable[Concatenate[Ready, _P], _T], *args: _P.args, **kwargs: _P.kwargs
    ) -> None:
        self._pipe, theirs = _SPAWN.Pipe()
        self._process = _SPAWN.Process(target=_run, args=(theirs, work, args, kwargs), daemon=True)
        self._process.start()
        theirs.close()

    def wait_ready(self) -> None:
        """Wait until the work has called its first argument."""
        self._receive(_START_TIMEOUT_S)

    def begin(self, start_at: float) -> None:
        """Tell the work, which is ready, when to begin."""
        self._pipe.send(start_at)

    def result(self) -> _T:
        """Wait for the end, and return what the work has returned."""
        returned: _T = self._receive(_END_TIMEOUT_S)
        self._process.join()
        return returned

    def _receive(self, timeout_s: float) -> Any:
        if not self._pipe.poll(timeout_s):
            raise TimeoutError(f"a part of the bench took more than {timeout_s:g} s")
        return self._pipe.recv()  # EOFError when the process has failed, with its traceback


def begin_together(children: Sequence[Child[Any]]) -> float:
    """Wait until all are ready, let them begin, and return at which moment."""
    for child in children:
        child.wait_ready()
    start_at = time.monotonic() + _LEAD_S
    for child in children:
        child.begin(start_at)
    return start_at


def _run(pipe: Connection, work: Callable[..., object], args: Any, kwargs: Any) -> None:
    def ready() -> float:
        pipe.send(None)
        start_at: float = pipe.recv()
        return start_at

    gc.disable()
    pipe.send(work(ready, *args, **kwargs))
