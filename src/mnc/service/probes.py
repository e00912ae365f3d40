"""The answers to the HTTP server's questions."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Mapping, Sequence

from mnc import __version__
from mnc.config import Settings
from mnc.drivers.mongo.connection import MongoConnection
from mnc.drivers.nats.mode import Mode
from mnc.drivers.nats.session import NatsSession
from mnc.drivers.nats.stream import JetStream
from mnc.service.ownership import Ownership
from mnc.telemetry.lanes import Lanes
from mnc.telemetry.metrics import Metrics
from mnc.telemetry.stalls import StallWatch

__all__ = ["ServiceProbes"]


class ServiceProbes:
    """Answers the HTTP server's questions."""

    def __init__(
        self,
        settings: Settings,
        *,
        mongo: MongoConnection,
        session: NatsSession,
        streams: Mapping[str, JetStream],
        ownership: Ownership,
        lanes: Lanes,
        stalls: StallWatch,
        metrics: Metrics,
    ) -> None:
        """Answer for `streams`, which are there by their names."""
        self._settings = settings
        self._session = session
        self._streams = streams
        self._ownership = ownership
        self._lanes = lanes
        self._stalls = stalls
        self._metrics = metrics
        self._started_at = time.time()
        self.checks: Mapping[str, Callable[[], Awaitable[None]]] = {
            "nats": self._check_streams,
            "mongo": mongo.check,
        }

    async def _check_streams(self) -> None:
        """Ask JetStream for all streams. Raises SinkError when one gives no good answer."""
        for stream in self._streams.values():
            await stream.check()

    def readiness(self) -> Sequence[str]:
        """See `Probes.readiness`."""
        reasons = [reason for lane in self._lanes.current() if (reason := lane.not_ready_because())]
        if (reason := self._ownership.not_ready_because()) is not None:
            reasons.insert(0, reason)
        if reasons and self._session.last_error is not None:
            reasons.insert(0, f"NATS can't be reached: {self._session.last_error}")
        return reasons

    def status(self) -> Mapping[str, object]:
        """See `Probes.status`."""
        name = self._settings.nats_stream_name
        publishing = {each: _publishing(stream.mode) for each, stream in self._streams.items()}
        return {
            "version": __version__,
            "uptime_s": round(time.time() - self._started_at, 1),
            "stream": name,
            "publishing": publishing[name],
            "other_streams": {each: publishing[each] for each in publishing if each != name},
            "ready": not self.readiness(),
            "cluster": self._ownership.status(),
            "loop": self._stalls.snapshot(),
            "nats_error": self._session.last_error,
            "collections": [lane.snapshot() for lane in self._lanes.current()],
        }

    def metrics(self) -> bytes:
        """See `Probes.metrics`."""
        return self._metrics.exposition()


def _publishing(mode: Mode | None) -> Mapping[str, object]:
    """Say how events get into the stream, and what that doesn't promise."""
    return {
        "mode": None if mode is None else mode.value,
        "not_promised": [] if mode is None else list(mode.not_promised),
    }
