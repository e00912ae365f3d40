"""What stands on the dashboard, and what doesn't."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from monitoring.queries import INSTANCE, LANE, Age, Increase, Level, Quantile, Query, Rate

__all__ = ["LEFT_OUT", "ROWS", "Panel"]


@dataclass(frozen=True, slots=True)
class Panel:
    """A graph. What it says about itself are the help texts of its metrics."""

    title: str
    unit: str
    """Grafana's name of it."""
    queries: Sequence[Query]


ROWS: Mapping[str, Sequence[Panel]] = {
    "Overview": (
        Panel(
            "Instances by version",
            "short",
            [Level(metric="mnc_build", by=("version",), over="count")],
        ),
        Panel("Captured", "bool", [Level(metric="mnc_lane_capturing", by=LANE)]),
        Panel("Lag, 99 % of batches", "s", [Quantile(metric="mnc_lag_seconds", by=LANE)]),
        Panel(
            "Way of publishing", "bool", [Level(metric="mnc_publish_mode", by=("stream", "mode"))]
        ),
    ),
    "Events": (
        Panel("Read", "ops", [Rate(metric="mnc_events_captured", by=LANE)]),
        Panel("Stored", "ops", [Rate(metric="mnc_events_published", by=(*LANE, "operation"))]),
        Panel("Covered by a token", "ops", [Rate(metric="mnc_events_checkpointed", by=LANE)]),
        Panel("Token documents", "ops", [Rate(metric="mnc_checkpoints_written", by=LANE)]),
        Panel("Stored bytes", "Bps", [Rate(metric="mnc_published_bytes", by=LANE)]),
        Panel("Acknowledgements, 99 %", "s", [Quantile(metric="mnc_ack_seconds", by=LANE)]),
        Panel("Events in a batch, 99 %", "short", [Quantile(metric="mnc_batch_events")]),
        Panel("Size of a batch, 99 %", "bytes", [Quantile(metric="mnc_batch_bytes")]),
    ),
    "Snapshots": (
        Panel("Documents read", "short", [Level(metric="mnc_snapshot_documents", by=LANE)]),
        Panel(
            "Documents to read",
            "short",
            [Level(metric="mnc_snapshot_estimated_documents", by=LANE)],
        ),
    ),
    "Trouble": (
        Panel("Errors", "short", [Increase(metric="mnc_errors", by=(*LANE, "kind"))]),
        Panel(
            "Dead letters",
            "short",
            [Increase(metric="mnc_events_dead_lettered", by=(*LANE, "kind"))],
        ),
        Panel(
            "Without a document",
            "short",
            [Increase(metric="mnc_events_incomplete", by=(*LANE, "field", "reason"))],
        ),
        Panel(
            "Gone on without lost history",
            "short",
            [Increase(metric="mnc_positions_renewed", by=LANE)],
        ),
        Panel("Restarts of collections", "short", [Increase(metric="mnc_lane_restarts", by=LANE)]),
        Panel("Found stored", "short", [Increase(metric="mnc_events_recovered", by=LANE)]),
    ),
    "Memory and time": (
        Panel(
            "In flight",
            "bytes",
            [
                Level(metric="mnc_inflight_bytes", by=INSTANCE, named="held"),
                Level(metric="mnc_inflight_limit_bytes", by=INSTANCE, named="limit"),
            ],
        ),
        Panel(
            "In flight, by collection",
            "bytes",
            [Level(metric="mnc_lane_inflight_bytes", by=LANE, over="sum")],
        ),
        Panel(
            "Waiting for room", "percentunit", [Rate(metric="mnc_capture_waits_seconds", by=LANE)]
        ),
        Panel("Read apart", "short", [Increase(metric="mnc_lane_detachments", by=LANE)]),
        Panel(
            "Event loop late, 99.9 %",
            "s",
            [Quantile(metric="mnc_event_loop_stall_seconds", by=INSTANCE, of=0.999)],
        ),
        Panel("Memory", "bytes", [Level(metric="process_resident_memory_bytes", by=INSTANCE)]),
        Panel("Cores", "short", [Rate(metric="process_cpu_seconds", by=INSTANCE)]),
        Panel("Running for", "s", [Age(metric="process_start_time_seconds", by=INSTANCE)]),
        Panel("Open files", "short", [Level(metric="process_open_fds", by=INSTANCE)]),
    ),
    "Cluster": (
        Panel("Leader", "bool", [Level(metric="mnc_raft_is_leader", by=INSTANCE)]),
        Panel(
            "Instances by role", "short", [Level(metric="mnc_raft_role", by=("role",), over="sum")]
        ),
        Panel("Members", "short", [Level(metric="mnc_cluster_members", by=("kind",))]),
        Panel(
            "Owned collections",
            "short",
            [Level(metric="mnc_cluster_owned_collections", by=INSTANCE)],
        ),
        Panel(
            "Moves", "short", [Increase(metric="mnc_cluster_moves", by=(*INSTANCE, "direction"))]
        ),
        Panel("Changes of leader", "short", [Increase(metric="mnc_raft_elections", by=INSTANCE)]),
        Panel("Term", "short", [Level(metric="mnc_raft_term", by=INSTANCE)]),
        Panel("Committed up to", "short", [Level(metric="mnc_raft_commit_index", by=INSTANCE)]),
    ),
}

LEFT_OUT: Mapping[str, str] = {
    "process_max_fds": "a limit of the machine's, thousands above what an instance opens",
    "process_virtual_memory_bytes": "addresses, most of which take no memory",
}
"""Metrics that aren't shown, each with the reason."""
