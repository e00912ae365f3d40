"""Which lanes are shown, as collections come and go."""

from __future__ import annotations

from mnc.telemetry.lane import Capturing
from mnc.telemetry.lanes import Lanes
from mnc.telemetry.metrics import Metrics


def _value(metrics: Metrics, name: str) -> float | None:
    labels = {"database": "test", "collection": "users"}
    return metrics.registry.get_sample_value(name, labels)


def test_a_collection_is_shown_while_it_is_open() -> None:
    """Those that were closed are gone, in whatever order; opening again gives the same one."""
    lanes = Lanes("test", Metrics())
    users = lanes.open("users")
    movies = lanes.open("movies")
    assert lanes.open("users") is users
    assert lanes.current() == (users, movies)
    lanes.close("users")
    assert lanes.current() == (movies,)
    assert lanes.open("users") is not users


def test_lanes_are_shown_by_their_databases() -> None:
    """A lane of another database, or with a dot in its name, is shown as MongoDB has it."""
    lanes = Lanes("test", Metrics())
    assert [str(lanes.open(key).namespace) for key in ("users", "crm.users", "test.a.b")] == [
        "test.users",
        "crm.users",
        "test.a.b",
    ]
    assert lanes.open("crm.users").namespace.database == "crm"


def test_gauges_go_and_counters_stay() -> None:
    """What says how things are now is gone; what says how much was done goes on from there."""
    metrics = Metrics()
    lanes = Lanes("test", metrics)
    for captured in (3, 7):
        lane = lanes.open("users")
        lane.enter(Capturing())
        lane.watch_inflight(lambda: 5.0)
        lane.captured(captured)
        assert _value(metrics, "mnc_lane_capturing") == 1
        assert _value(metrics, "mnc_lane_inflight_bytes") == 5
        lanes.close("users")
        assert _value(metrics, "mnc_lane_capturing") is None
        assert _value(metrics, "mnc_lane_inflight_bytes") is None
    assert _value(metrics, "mnc_events_captured_total") == 10
