"""The lanes that this instance has something to tell of: those of the collections that it owns."""

from __future__ import annotations

from collections.abc import Sequence

from mnc.model import Namespace
from mnc.telemetry.lane import LaneTelemetry
from mnc.telemetry.metrics import Metrics

__all__ = ["Lanes"]


class Lanes:
    """The telemetry of the lanes, as collections come and go.

    Invariants: a collection is shown from `open` to `close`, and has no gauges afterwards. Its
    counters stay, so that a rate over the end of it is right.
    """

    def __init__(self, home: str, metrics: Metrics) -> None:
        """Make one without lanes; `home` is the database that MONGO_URI names."""
        self._home = home
        self._metrics = metrics
        self._lanes: dict[str, LaneTelemetry] = {}

    def open(self, collection: str) -> LaneTelemetry:
        """Return the collection's telemetry, a new one unless it is shown already."""
        if collection not in self._lanes:
            namespace = Namespace.of(collection, home=self._home)
            self._lanes[collection] = LaneTelemetry(namespace, self._metrics)
        return self._lanes[collection]

    def close(self, collection: str) -> None:
        """Show the collection no longer. It has to be open."""
        self._lanes.pop(collection).close()

    def current(self) -> Sequence[LaneTelemetry]:
        """Return what is shown now, in the order in which the collections came."""
        return tuple(self._lanes.values())
