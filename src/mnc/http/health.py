"""Health: whether the servers answer, asked no more often than needed.

It speaks anyio, as starlette does, so that the app runs on whatever starlette runs on.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Literal

import anyio

from mnc.errors import MncError
from mnc.http.ports import HealthCheck

__all__ = ["CHECK_DEADLINE_S", "Health", "ServerState"]

ServerState = Literal["UP", "DOWN"]

CHECK_DEADLINE_S = 2.0
"""How long a server may take to answer a check.

A probe's own time-out is best set above it, so that the prober reads who is down.
"""

_REUSE_S = 1.0
"""How long an answer stands: many probers at once cost the servers one check a second."""


class Health:
    """Run the health checks, all at the same time, each under its own deadline.

    Invariants: a check never runs twice at the same time; an answer is at most `_REUSE_S` old.
    """

    def __init__(self, checks: Mapping[str, HealthCheck], *, deadline_s: float) -> None:
        self._checks = checks
        self._deadline_s = deadline_s
        self._lock = anyio.Lock()
        self._answer: Mapping[str, ServerState] = {}
        self._answered_at = -math.inf

    async def states(self) -> Mapping[str, ServerState]:
        """Return the state of each server, in the order of the checks.

        Whoever asks while the checks run waits for them and gets the same answer. An error that is
        no MncError is a bug and passes through, in a group.

        Cancellation: the checks are cancelled, and whoever waits for them starts them anew.
        """
        async with self._lock:
            if anyio.current_time() - self._answered_at > _REUSE_S:
                self._answer = await self._ask()
                self._answered_at = anyio.current_time()
            return self._answer

    async def _ask(self) -> Mapping[str, ServerState]:
        states: dict[str, ServerState] = dict.fromkeys(self._checks, "DOWN")

        async def ask(name: str, check: HealthCheck) -> None:
            with anyio.move_on_after(self._deadline_s):
                try:
                    await check()
                except MncError:
                    return
                states[name] = "UP"

        async with anyio.create_task_group() as group:
            for name, check in self._checks.items():
                group.start_soon(ask, name, check)
        return states
