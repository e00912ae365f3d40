"""What each alert is to fire for, and what not: series as Prometheus would have scraped them.

Values are those of promtool: `1+2x9` begins with 1 and grows by 2, nine times; `_` is a scrape
without a value, and a scrape comes every 15 seconds.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

__all__ = ["CASES", "Case"]

_LANE = 'database="shop", collection="users", namespace="mnc", job="mnc", pod="mnc-0"'
_OTHER = _LANE.replace("mnc-0", "mnc-1")
_INSTANCE = 'namespace="mnc", job="mnc", pod="mnc-0", instance="10.0.0.1:3000"'
_LATE = "mnc_event_loop_stall_seconds"


@dataclass(frozen=True, slots=True)
class Case:
    """Series, and whether one alert of a name fires for them."""

    alert: str
    about: str
    fires: bool
    at: str
    """When to look."""
    series: Mapping[str, str]


CASES: Sequence[Case] = (
    Case("MncAllInstancesDown", "nobody answers", True, "5m", {f"up{{{_INSTANCE}}}": "0x40"}),
    Case("MncAllInstancesDown", "there is none", True, "5m", {"up{job='other'}": "1x40"}),
    Case(
        "MncAllInstancesDown",
        "one of two answers",
        False,
        "5m",
        {'up{job="mnc", pod="mnc-0"}': "0x40", 'up{job="mnc", pod="mnc-1"}': "1x40"},
    ),
    Case("MncInstanceDown", "it is away", True, "5m", {f"up{{{_INSTANCE}}}": "1x4 0x40"}),
    Case("MncInstanceDown", "it has restarted", False, "5m", {f"up{{{_INSTANCE}}}": "1 0x4 1x40"}),
    Case(
        "MncInstanceNotReady",
        "the pod isn't ready",
        True,
        "8m",
        {'kube_pod_status_ready{condition="true", pod="mnc-2"}': "0x40"},
    ),
    Case(
        "MncInstanceNotReady",
        "another's pod isn't",
        False,
        "8m",
        {'kube_pod_status_ready{condition="true", pod="mnc-mongodb-0"}': "0x40"},
    ),
    Case(
        "MncNoLeader",
        "no majority",
        True,
        "5m",
        {f'mnc_raft_is_leader{{namespace="mnc", pod="mnc-{n}"}}': "0x40" for n in range(3)},
    ),
    Case(
        "MncNoLeader",
        "it has moved",
        False,
        "5m",
        {
            'mnc_raft_is_leader{namespace="mnc", pod="mnc-0"}': "1x9 0x40",
            'mnc_raft_is_leader{namespace="mnc", pod="mnc-1"}': "0x10 1x40",
        },
    ),
    Case(
        "MncLeaderChanges",
        "one a minute",
        True,
        "20m",
        {f"mnc_raft_elections_total{{{_INSTANCE}}}": "1+0.25x100"},
    ),
    Case(
        "MncLeaderChanges",
        "three of an upgrade",
        False,
        "20m",
        {f"mnc_raft_elections_total{{{_INSTANCE}}}": "1x20 2x4 3x4 4x100"},
    ),
    Case(
        "MncInstanceStalls",
        "one a minute",
        True,
        "20m",
        {
            f"{_LATE}_count{{{_INSTANCE}}}": "0+300x100",
            f'{_LATE}_bucket{{le="0.5", {_INSTANCE}}}': "0+299x100",
        },
    ),
    Case(
        "MncInstanceStalls",
        "shorter ones",
        False,
        "20m",
        {
            f"{_LATE}_count{{{_INSTANCE}}}": "0+300x100",
            f'{_LATE}_bucket{{le="0.5", {_INSTANCE}}}': "0+300x100",
        },
    ),
    Case("MncCollectionStopped", "it is", True, "5m", {f"mnc_lane_capturing{{{_LANE}}}": "0x40"}),
    Case(
        "MncCollectionStopped",
        "another instance captures it",
        False,
        "5m",
        {f"mnc_lane_capturing{{{_LANE}}}": "0x40", f"mnc_lane_capturing{{{_OTHER}}}": "1x40"},
    ),
    Case(
        "MncNothingStored",
        "nothing since the start",
        True,
        "10m",
        {f"mnc_lane_inflight_bytes{{{_LANE}}}": "0 900x40"},
    ),
    Case(
        "MncNothingStored",
        "nothing any more, and the collection starts again and again",
        True,
        "20m",
        {
            f"mnc_lane_inflight_bytes{{{_LANE}}}": "0x20 " + "0 0 900 0 900 " * 14,
            f"mnc_events_published_total{{{_LANE}}}": "7x100",
        },
    ),
    Case(
        "MncNothingStored",
        "the first event",
        False,
        "10m",
        {
            f"mnc_lane_inflight_bytes{{{_LANE}}}": "0x10 900 0x40",
            f"mnc_events_published_total{{{_LANE}}}": "_x11 1x40",
        },
    ),
    Case(
        "MncNothingStored",
        "a busy collection",
        False,
        "10m",
        {
            f"mnc_lane_inflight_bytes{{{_LANE}}}": "900x60",
            f"mnc_events_published_total{{{_LANE}}}": "0+10x60",
        },
    ),
    Case(
        "MncCollectionLags",
        "five minutes late",
        True,
        "20m",
        {
            f'mnc_lag_seconds_bucket{{le="60.0", {_LANE}}}': "0x100",
            f'mnc_lag_seconds_bucket{{le="300.0", {_LANE}}}': "0+9x100",
            f'mnc_lag_seconds_bucket{{le="+Inf", {_LANE}}}': "0+9x100",
        },
    ),
    Case(
        "MncCollectionLags",
        "in time",
        False,
        "20m",
        {
            f'mnc_lag_seconds_bucket{{le="60.0", {_LANE}}}': "0+9x100",
            f'mnc_lag_seconds_bucket{{le="+Inf", {_LANE}}}': "0+9x100",
        },
    ),
    Case(
        "MncErrors",
        "one a minute",
        True,
        "25m",
        {f'mnc_errors_total{{kind="sink_unavailable", {_LANE}}}': "0+0.25x120"},
    ),
    Case(
        "MncErrors",
        "a few at once",
        False,
        "25m",
        {f'mnc_errors_total{{kind="sink_unavailable", {_LANE}}}': "0x40 4x80"},
    ),
    Case(
        "MncDeadLetters",
        "the first one",
        True,
        "6m",
        {f'mnc_events_dead_lettered_total{{kind="payload_too_large", {_LANE}}}': "_x19 1x100"},
    ),
    Case(
        "MncDeadLetters",
        "one more",
        True,
        "16m",
        {f'mnc_events_dead_lettered_total{{kind="payload_too_large", {_LANE}}}': "1x60 2x100"},
    ),
    Case(
        "MncDeadLetters",
        "one of long ago",
        False,
        "25m",
        {f'mnc_events_dead_lettered_total{{kind="payload_too_large", {_LANE}}}': "1x100"},
    ),
)
