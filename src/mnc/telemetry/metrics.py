"""The metrics that `/metrics` shows: names, labels and buckets, in one place.

They are an interface: a change of a name or a label gets a changelog entry.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    Info,
    ProcessCollector,
    generate_latest,
)

from mnc import __version__

__all__ = ["Metrics"]

_LANE = ("database", "collection")
_LATENCY_BUCKETS_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
_LAG_BUCKETS_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 1800, 7200)
_STALL_BUCKETS_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.2, 0.5, 1)
_BATCH_BUCKETS = (1, 2, 5, 10, 20, 50, 100, 200, 500, 999)
_BYTES_BUCKETS = tuple(4**exponent for exponent in range(4, 13))  # 256 B to 16 MiB


class Metrics:
    """Every metric of one process, in a registry of its own."""

    def __init__(self) -> None:
        self.registry = registry = CollectorRegistry()
        """Where other modules add what not every process has."""
        ProcessCollector(registry=registry)
        Info("mnc_build", "The version that runs.", registry=registry).info(
            {"version": __version__}
        )
        self.captured = Counter(
            "mnc_events_captured", "Change events read from MongoDB.", _LANE, registry=registry
        )
        self.incomplete = Counter(
            "mnc_events_incomplete",
            "Change events that lack a document, by its field and the reason.",
            (*_LANE, "field", "reason"),
            registry=registry,
        )
        self.published = Counter(
            "mnc_events_published",
            "Change events that the stream has stored, by operation.",
            (*_LANE, "operation"),
            registry=registry,
        )
        self.published_bytes = Counter(
            "mnc_published_bytes",
            "Payload bytes that the stream has stored.",
            _LANE,
            registry=registry,
        )
        self.recovered = Counter(
            "mnc_events_recovered",
            "Published events whose acknowledgement never came; the marker showed them stored.",
            _LANE,
            registry=registry,
        )
        self.dead_lettered = Counter(
            "mnc_events_dead_lettered",
            "Published events that are dead letters, by their cause.",
            (*_LANE, "kind"),
            registry=registry,
        )
        self.checkpoints = Counter(
            "mnc_checkpoints_written",
            "Token documents written to MongoDB.",
            _LANE,
            registry=registry,
        )
        self.checkpointed = Counter(
            "mnc_events_checkpointed",
            "Published events that a written token document covers.",
            _LANE,
            registry=registry,
        )
        self.batch_events = Histogram(
            "mnc_batch_events",
            "Events in a published batch.",
            buckets=_BATCH_BUCKETS,
            registry=registry,
        )
        self.batch_bytes = Histogram(
            "mnc_batch_bytes",
            "Payload bytes in a published batch.",
            buckets=_BYTES_BUCKETS,
            registry=registry,
        )
        self.ack_seconds = Histogram(
            "mnc_ack_seconds",
            "Time from sending a batch to its acknowledgement.",
            _LANE,
            buckets=_LATENCY_BUCKETS_S,
            registry=registry,
        )
        self.lag_seconds = Histogram(
            "mnc_lag_seconds",
            "Time from the commit in MongoDB to the acknowledgement, of a batch's oldest event.",
            _LANE,
            buckets=_LAG_BUCKETS_S,
            registry=registry,
        )
        self.restarts = Counter(
            "mnc_lane_restarts", "Restarts of a collection's lane.", _LANE, registry=registry
        )
        self.errors = Counter(
            "mnc_errors",
            "Errors by kind, those included that healed in place.",
            (*_LANE, "kind"),
            registry=registry,
        )
        self.positions_renewed = Counter(
            "mnc_positions_renewed",
            "How often changes were skipped that MongoDB had forgotten: MONGO_ON_HISTORY_LOST.",
            _LANE,
            registry=registry,
        )
        self.snapshot_documents = Gauge(
            "mnc_snapshot_documents",
            "Documents that the snapshot under way has read so far; 0 when there is none.",
            _LANE,
            registry=registry,
        )
        self.snapshot_estimated_documents = Gauge(
            "mnc_snapshot_estimated_documents",
            "About how many documents that snapshot has to read; 0 when there is none.",
            _LANE,
            registry=registry,
        )
        self.capturing = Gauge(
            "mnc_lane_capturing",
            "1 while changes of the collection are being captured.",
            _LANE,
            registry=registry,
        )
        self.capture_waits = Counter(
            "mnc_capture_waits_seconds",
            "Time for which captured events waited until the byte budget had room for them.",
            _LANE,
            registry=registry,
        )
        self.detachments = Counter(
            "mnc_lane_detachments",
            "How often the collection got a change stream of its own because it held up others.",
            _LANE,
            registry=registry,
        )
        self.lane_inflight_bytes = Gauge(
            "mnc_lane_inflight_bytes",
            "The part of mnc_inflight_bytes that is the collection's.",
            _LANE,
            registry=registry,
        )
        self.inflight_bytes = Gauge(
            "mnc_inflight_bytes",
            "Bytes held between MongoDB and the acknowledgement.",
            registry=registry,
        )
        self.inflight_limit_bytes = Gauge(
            "mnc_inflight_limit_bytes",
            "The limit of mnc_inflight_bytes: PUBLISH_MAX_INFLIGHT_BYTES.",
            registry=registry,
        )
        self.stall_seconds = Histogram(
            "mnc_event_loop_stall_seconds",
            "How late the event loop was, measured twenty times a second.",
            buckets=_STALL_BUCKETS_S,
            registry=registry,
        )

        self.publish_mode = Gauge(
            "mnc_publish_mode",
            "1 for a stream's way of publishing: what it does not promise is in /status.",
            ("stream", "mode"),
            registry=registry,
        )

    def watch_mode(
        self, stream: str, used: Callable[[], str | None], *, modes: Iterable[str]
    ) -> None:
        """Show which of `modes` is in use for a stream whenever the metrics are read."""

        def is_used(mode: str) -> float:
            return float(used() == mode)

        for mode in modes:
            self.publish_mode.labels(stream, mode).set_function(partial(is_used, mode))

    def watch_budget(self, used_bytes: Callable[[], float], *, limit_bytes: int) -> None:
        """Show what the byte budget holds whenever the metrics are read."""
        self.inflight_bytes.set_function(used_bytes)
        self.inflight_limit_bytes.set(limit_bytes)

    def exposition(self) -> bytes:
        """Return all metrics in Prometheus's text format."""
        return generate_latest(self.registry)
