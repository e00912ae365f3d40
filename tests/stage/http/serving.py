"""Fake probes, and a guarded server on a free port of this machine."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING

import httpx
import trio

from mnc.errors import SourceUnavailableError
from mnc.http.app import build_app
from mnc.http.server import bind, serve

if TYPE_CHECKING:
    from starlette.types import ASGIApp

    from mnc.http.ports import HealthCheck

__all__ = ["FakeProbes", "answer_up", "is_alive", "raise_down", "start_server"]


async def answer_up() -> None:
    """Pass a health check."""
    await trio.lowlevel.checkpoint()


async def raise_down() -> None:
    """Fail a health check as a driver does."""
    await trio.lowlevel.checkpoint()
    raise SourceUnavailableError("no primary")


def _both_up() -> dict[str, HealthCheck]:
    return {"nats": answer_up, "mongo": answer_up}


@dataclass(slots=True, kw_only=True)
class FakeProbes:
    """A process whose state a test sets."""

    checks: dict[str, HealthCheck] = field(default_factory=_both_up)
    reasons: Sequence[str] = ()
    state: Mapping[str, object] = field(default_factory=dict)
    exposition: bytes = b""

    def readiness(self) -> Sequence[str]:
        """Return what the test set."""
        return self.reasons

    def status(self) -> Mapping[str, object]:
        """Return what the test set."""
        return self.state

    def metrics(self) -> bytes:
        """Return what the test set."""
        return self.exposition


async def start_server(
    nursery: trio.Nursery, app: ASGIApp | None = None, *, max_connections: int = 100
) -> int:
    """Start a server in `nursery` and return its port."""
    listening = bind("127.0.0.1", 0)
    port: int = listening.getsockname()[1]
    app = app or build_app(FakeProbes())
    await nursery.start(partial(serve, app, listening, max_connections=max_connections))
    return port


async def is_alive(port: int) -> bool:
    """Say whether a new client gets an answer."""
    async with httpx.AsyncClient(trust_env=False) as client:
        answer = await client.get(f"http://127.0.0.1:{port}/livez")
    return answer.status_code == httpx.codes.OK
