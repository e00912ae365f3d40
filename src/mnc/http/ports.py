"""What the HTTP side needs to know of the process; `mnc.service` provides it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Protocol

__all__ = ["HealthCheck", "Probes"]

HealthCheck = Callable[[], Awaitable[None]]
"""Ask a server for a sign of life: return when it answers, raise MncError when it is down.

Cancellation: it is cancelled when it takes too long, and must then end at once.
"""


class Probes(Protocol):
    """The state of one process. It is served as it is, so nothing of it may hold a secret."""

    @property
    def checks(self) -> Mapping[str, HealthCheck]:
        """The health check of each server by its name, in the order in which they are shown."""
        ...

    def readiness(self) -> Sequence[str]:
        """Return why this instance is not ready, a sentence a reason; empty when it is ready."""
        ...

    def status(self) -> Mapping[str, object]:
        """Return everything worth knowing about this instance, as JSON can hold it."""
        ...

    def metrics(self) -> bytes:
        """Return the metrics in Prometheus's text exposition format 0.0.4."""
        ...
