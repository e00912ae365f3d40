"""The metrics' names and labels, which dashboards and alerts rely on."""

from __future__ import annotations

from prometheus_client.parser import text_string_to_metric_families
from tests.fakes.values import NAMESPACE, checkpoint, event, events

from mnc.encode.dead_letter import dead_letter
from mnc.errors import PayloadTooLargeError, SinkUnavailableError
from mnc.model import Position, StreamSeq
from mnc.publish.ports import Batch
from mnc.telemetry.cluster import ClusterTelemetry
from mnc.telemetry.lane import Capturing, LaneTelemetry
from mnc.telemetry.metrics import Metrics

_LANE = {"database", "collection"}

_INTERFACE: dict[str, tuple[str, set[str]]] = {
    "mnc_build": ("gauge", {"version"}),
    "mnc_events_captured": ("counter", _LANE),
    "mnc_events_published": ("counter", {*_LANE, "operation"}),
    "mnc_events_dead_lettered": ("counter", {*_LANE, "kind"}),
    "mnc_published_bytes": ("counter", _LANE),
    "mnc_events_recovered": ("counter", _LANE),
    "mnc_checkpoints_written": ("counter", _LANE),
    "mnc_events_checkpointed": ("counter", _LANE),
    "mnc_batch_events": ("histogram", set()),
    "mnc_batch_bytes": ("histogram", set()),
    "mnc_ack_seconds": ("histogram", _LANE),
    "mnc_lag_seconds": ("histogram", _LANE),
    "mnc_lane_restarts": ("counter", _LANE),
    "mnc_positions_renewed": ("counter", _LANE),
    "mnc_errors": ("counter", {*_LANE, "kind"}),
    "mnc_snapshot_documents": ("gauge", _LANE),
    "mnc_snapshot_estimated_documents": ("gauge", _LANE),
    "mnc_lane_capturing": ("gauge", _LANE),
    "mnc_lane_detachments": ("counter", _LANE),
    "mnc_lane_inflight_bytes": ("gauge", _LANE),
    "mnc_events_incomplete": ("counter", {*_LANE, "field", "reason"}),
    "mnc_capture_waits_seconds": ("counter", _LANE),
    "mnc_inflight_bytes": ("gauge", set()),
    "mnc_inflight_limit_bytes": ("gauge", set()),
    "mnc_publish_mode": ("gauge", {"stream", "mode"}),
    "mnc_event_loop_stall_seconds": ("histogram", set()),
    "mnc_raft_term": ("gauge", set()),
    "mnc_raft_commit_index": ("gauge", set()),
    "mnc_raft_role": ("gauge", {"role"}),
    "mnc_raft_is_leader": ("gauge", set()),
    "mnc_raft_elections": ("counter", set()),
    "mnc_cluster_members": ("gauge", {"kind"}),
    "mnc_cluster_owned_collections": ("gauge", set()),
    "mnc_cluster_moves": ("counter", {"direction"}),
}
"""A change here needs an entry in the changelog."""


def _batch() -> Batch:
    batch = [*events(1, 2), dead_letter(event(3), PayloadTooLargeError("large"))]
    return Batch(
        events=batch,
        marker_subject="cs_position.users",
        position=Position(token=batch[-1].token),
        expected_seq=StreamSeq(0),
    )


def _exercised() -> Metrics:
    """Return metrics in which every series with labels has come to be."""
    metrics = Metrics()
    metrics.watch_budget(lambda: 5.0, limit_bytes=100)
    metrics.watch_mode("cs", lambda: "chained", modes=["atomic", "chained"])
    ClusterTelemetry(metrics.registry)
    lane = LaneTelemetry(NAMESPACE, metrics)
    lane.enter(Capturing())
    lane.captured(3)
    lane.waited(0.5)
    lane.lacked("fullDocument", "missing", 2)
    lane.detached()
    lane.watch_inflight(lambda: 7.0)
    lane.published(_batch(), ack_s=0.01)
    lane.checkpointed(checkpoint(3, stream_seq=4))
    lane.checkpoint_failed(SinkUnavailableError("away"))
    return metrics


def _value(metrics: Metrics, name: str, **labels: str) -> float | None:
    return metrics.registry.get_sample_value(name, labels)


def test_names_types_and_labels_are_an_interface() -> None:
    """What is shown is exactly what is listed here, beside the process's own metrics."""
    shown = {}
    for family in text_string_to_metric_families(_exercised().exposition().decode()):
        if family.name.startswith("mnc_") and not family.name.endswith("_created"):
            labels = {name for sample in family.samples for name in sample.labels} - {"le"}
            shown[family.name.removesuffix("_info")] = (family.type, labels)
    assert shown == _INTERFACE


def test_every_metric_says_what_it_is() -> None:
    """Each has a help text that is a sentence."""
    for family in text_string_to_metric_families(_exercised().exposition().decode()):
        if family.name.startswith("mnc_") and not family.name.endswith("_created"):
            assert family.documentation.endswith(".")


def test_a_lane_counts_into_its_own_series() -> None:
    """Counts carry the database and the collection, and say what happened."""
    metrics = _exercised()
    lane = {"database": "test", "collection": "users"}
    assert _value(metrics, "mnc_events_captured_total", **lane) == 3
    assert _value(metrics, "mnc_events_published_total", operation="insert", **lane) == 3
    assert _value(metrics, "mnc_events_dead_lettered_total", kind="payload_too_large", **lane) == 1
    assert _value(metrics, "mnc_published_bytes_total", **lane) == _batch().size_bytes
    assert _value(metrics, "mnc_events_checkpointed_total", **lane) == 3
    assert _value(metrics, "mnc_checkpoints_written_total", **lane) == 1
    assert _value(metrics, "mnc_ack_seconds_count", **lane) == 1
    assert _value(metrics, "mnc_lag_seconds_count", **lane) == 1
    assert _value(metrics, "mnc_lane_capturing", **lane) == 1
    lack = {"field": "fullDocument", "reason": "missing"}
    assert _value(metrics, "mnc_events_incomplete_total", **lack, **lane) == 2
    assert _value(metrics, "mnc_capture_waits_seconds_total", **lane) == 0.5
    assert _value(metrics, "mnc_lane_detachments_total", **lane) == 1
    assert _value(metrics, "mnc_lane_inflight_bytes", **lane) == 7
    assert _value(metrics, "mnc_errors_total", kind="sink_unavailable", **lane) == 1


def test_the_budget_is_read_when_it_is_shown() -> None:
    """The gauge asks the budget at each reading."""
    used = 5.0
    metrics = Metrics()
    metrics.watch_budget(lambda: used, limit_bytes=100)
    assert _value(metrics, "mnc_inflight_bytes") == 5
    used = 7.0
    assert _value(metrics, "mnc_inflight_bytes") == 7
    assert _value(metrics, "mnc_inflight_limit_bytes") == 100


def test_processes_share_no_metrics() -> None:
    """Two of them in one interpreter, as in tests, count apart."""
    first, second = Metrics(), Metrics()
    first.batch_events.observe(5)
    assert _value(first, "mnc_batch_events_count") == 1
    assert _value(second, "mnc_batch_events_count") == 0


def test_the_way_of_publishing_that_is_in_use_is_1() -> None:
    """Of the ways of publishing, the one in use shows 1 and the others 0."""
    shown = _exercised().exposition().decode()
    assert 'mnc_publish_mode{mode="chained",stream="cs"} 1.0' in shown
    assert 'mnc_publish_mode{mode="atomic",stream="cs"} 0.0' in shown
