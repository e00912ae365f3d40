"""The alerts: what each means, and what to do, is in docs/operations.md under its name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from monitoring.queries import growth

__all__ = ["ALERTS", "RUNBOOKS", "Alert", "groups"]

RUNBOOKS = "docs/operations.md"

_LANE = "namespace, database, collection"
_COLLECTION = "{{ $labels.database }}.{{ $labels.collection }}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Alert:
    """A condition that a person is told of."""

    name: str
    severity: Literal["critical", "warning"]
    """critical: events don't arrive, or soon won't. warning: look at it in working hours."""
    expr: str
    """PromQL."""
    lasting: str = ""
    """How long it has to hold, as Prometheus writes it; empty for no time at all."""
    summary: str
    description: str


ALERTS: Sequence[Alert] = (
    Alert(
        name="MncAllInstancesDown",
        severity="critical",
        expr='absent(up{job="mnc"} == 1)',
        lasting="1m",
        summary="No instance answers Prometheus",
        description="Nothing is captured. It goes on where it stopped when instances are back.",
    ),
    Alert(
        name="MncInstanceDown",
        severity="warning",
        expr='up{job="mnc"} == 0',
        lasting="2m",
        summary="{{ $labels.pod }} {{ $labels.instance }} doesn't answer Prometheus",
        description="The others have its collections now; another failure may stop them all.",
    ),
    Alert(
        name="MncInstanceNotReady",
        severity="warning",
        expr='kube_pod_status_ready{condition="true", pod=~"mnc-[0-9]+"} == 0',
        lasting="5m",
        summary="{{ $labels.pod }} isn't ready",
        description="Its /readyz says why.",
    ),
    Alert(
        name="MncNoLeader",
        severity="critical",
        expr="sum by (namespace) (mnc_raft_is_leader) == 0",
        lasting="1m",
        summary="No instance is the leader",
        description=(
            "Fewer than a majority of RAFT_CLUSTER_SIZE instances reach each other through NATS. "
            "Owners go on with their collections, but a failed one has no successor."
        ),
    ),
    Alert(
        name="MncLeaderChanges",
        severity="warning",
        expr="max by (namespace) (increase(mnc_raft_elections_total[15m])) > 3",
        lasting="5m",
        summary="The leader changes again and again",
        description="Each change costs moments. Instances stand still, or lose their way to NATS.",
    ),
    Alert(
        name="MncInstanceStalls",
        severity="warning",
        expr=(
            "sum by (namespace, pod, instance) "
            "(increase(mnc_event_loop_stall_seconds_count[10m])) - "
            "sum by (namespace, pod, instance) "
            '(increase(mnc_event_loop_stall_seconds_bucket{le="0.5"}[10m])) > 3'
        ),
        lasting="5m",
        summary="{{ $labels.pod }} {{ $labels.instance }} stands still for half a second and more",
        description="It answers nobody meanwhile, and the others may take it for dead.",
    ),
    Alert(
        name="MncCollectionStopped",
        severity="critical",
        expr=f"max by ({_LANE}) (mnc_lane_capturing) == 0",
        lasting="2m",
        summary=f"Changes of {_COLLECTION} are not captured",
        description="/status of the instances has the reason.",
    ),
    Alert(
        name="MncNothingStored",
        severity="critical",
        # The counter of a collection comes to be with its first event, hence `unless`.
        expr=(
            f"max by ({_LANE}) (max_over_time(mnc_lane_inflight_bytes[2m])) > 0 unless "
            f"sum by ({_LANE}) (increase(mnc_events_published_total[2m])) > 0"
        ),
        lasting="5m",
        summary=f"Changes of {_COLLECTION} are captured, but none is stored",
        description="/readyz of the collection's owner has the reason.",
    ),
    Alert(
        name="MncCollectionLags",
        severity="warning",
        expr=(
            f"histogram_quantile(0.9, sum by ({_LANE}, le) (rate(mnc_lag_seconds_bucket[5m]))) > 60"
        ),
        lasting="10m",
        summary=f"Events of {_COLLECTION} are stored more than a minute late",
        description=(
            "mnc_ack_seconds tells whether the stream is slow, mnc_capture_waits_seconds_total "
            "whether there is more to do than it takes."
        ),
    ),
    Alert(
        name="MncErrors",
        severity="warning",
        expr=f"sum by ({_LANE}, kind) (increase(mnc_errors_total[10m])) > 5",
        lasting="10m",
        summary=f"Errors of kind {{{{ $labels.kind }}}} keep coming in {_COLLECTION}",
        description="The log has each with its cause, under the same kind.",
    ),
    Alert(
        name="MncDeadLetters",
        severity="warning",
        expr=(f"sum by ({_LANE}, kind) ({growth('mnc_events_dead_lettered_total', '10m')}) > 0"),
        summary=f"Events of {_COLLECTION} have become dead letters ({{{{ $labels.kind }}}})",
        description="They are in the stream, under the subject of its dead letters.",
    ),
)


def groups() -> Sequence[Mapping[str, object]]:
    """Return the alerts as Prometheus reads them."""
    return [{"name": "mnc", "rules": [_rule(alert) for alert in ALERTS]}]


def _rule(alert: Alert) -> Mapping[str, object]:
    return {
        "alert": alert.name,
        "expr": alert.expr,
        **({"for": alert.lasting} if alert.lasting else {}),
        "labels": {"severity": alert.severity},
        "annotations": {
            "summary": alert.summary,
            "description": alert.description,
            "runbook_url": f"{RUNBOOKS}#{alert.name.lower()}",
        },
    }
