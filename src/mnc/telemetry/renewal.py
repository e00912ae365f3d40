"""What is told of changes that MongoDB has forgotten before they were read."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime

import structlog
from structlog.typing import FilteringBoundLogger

from mnc.model import Namespace, ResumeToken
from mnc.telemetry.metrics import Metrics

__all__ = ["DiscoveryTelemetry", "log_renewed"]

_REMEDY = "enlarge the oplog; MONGO_ON_HISTORY_LOST=stop waits for a person instead"


class DiscoveryTelemetry:
    """Counts and logs what discovery of one database has to leave out."""

    def __init__(self, database: str, metrics: Metrics) -> None:
        self._database = database
        self._metrics = metrics
        self._renewed = metrics.positions_renewed.labels(database, "")
        self._log = structlog.get_logger()

    def renewed(self, *, lost: ResumeToken, found: ResumeToken) -> None:
        """Count a position of discovery itself, under no collection's name."""
        self._renewed.inc()
        self._log.warning(
            "discovery.renewed",
            database=self._database,
            **_gap(lost, found),
            reason="MongoDB's oplog no longer reaches back to the position: collections that came "
            "and went in this time are not found",
            remedy=_REMEDY,
        )

    def found_late(self, collection: str, *, lost: ResumeToken, found: ResumeToken) -> None:
        """Count a collection's, like that of a lane whose position is lost."""
        namespace = Namespace(database=self._database, collection=collection)
        self._metrics.positions_renewed.labels(self._database, collection).inc()
        log_renewed(self._log.bind(collection=str(namespace)), lost=lost, found=found)


def log_renewed(log: FilteringBoundLogger, *, lost: ResumeToken, found: ResumeToken) -> None:
    """Say that the changes of a collection between two positions were skipped."""
    log.warning(
        "position.renewed",
        **_gap(lost, found),
        reason="MongoDB's oplog no longer reaches back to the position: the changes of this time "
        "are not in the stream",
        remedy=_REMEDY,
    )


def _gap(lost: ResumeToken, found: ResumeToken) -> Mapping[str, str | int]:
    since = lost.cluster_time.seconds
    return {
        "since": datetime.fromtimestamp(since, UTC).isoformat(),
        "skipped_s": found.cluster_time.seconds - since,
    }
