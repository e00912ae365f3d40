"""The cluster's metrics show the newest figures, and count what changed."""

from __future__ import annotations

from dataclasses import replace

import pytest
from prometheus_client import CollectorRegistry

from mnc.telemetry.cluster import SPARE, ClusterFigures, ClusterTelemetry

_FIGURES = ClusterFigures(
    term=3,
    role="follower",
    leader="b",
    commit_index=17,
    voters=3,
    spares=2,
    joined=4,
    owned=frozenset({"users", "movies"}),
)


@pytest.fixture
def registry() -> CollectorRegistry:
    """Return a registry without metrics."""
    return CollectorRegistry()


@pytest.fixture
def telemetry(registry: CollectorRegistry) -> ClusterTelemetry:
    """Return the telemetry of an instance without a group."""
    return ClusterTelemetry(registry)


def _roles(registry: CollectorRegistry) -> set[str]:
    return {
        sample.labels["role"]
        for family in registry.collect()
        for sample in family.samples
        if sample.name == "mnc_raft_role" and sample.value == 1
    }


def test_figures_are_shown(registry: CollectorRegistry, telemetry: ClusterTelemetry) -> None:
    """Each figure is a gauge, and members are told apart by their kind."""
    telemetry.note(_FIGURES)
    value = registry.get_sample_value
    assert value("mnc_raft_term") == 3
    assert value("mnc_raft_commit_index") == 17
    assert value("mnc_cluster_owned_collections") == 2
    assert value("mnc_cluster_members", {"kind": "voter"}) == 3
    assert value("mnc_cluster_members", {"kind": "spare"}) == 2
    assert value("mnc_cluster_members", {"kind": "joined"}) == 4


@pytest.mark.parametrize("role", ["follower", "pre-candidate", "candidate", "leader", SPARE])
def test_one_role_is_1(registry: CollectorRegistry, telemetry: ClusterTelemetry, role: str) -> None:
    """In a group an instance has one role, and leads in that of the leader only."""
    telemetry.note(_FIGURES)
    telemetry.note(replace(_FIGURES, role=role))
    assert _roles(registry) == {role}
    assert registry.get_sample_value("mnc_raft_is_leader") == (role == "leader")


def test_without_a_group_there_is_no_role(
    registry: CollectorRegistry, telemetry: ClusterTelemetry
) -> None:
    """Before the first group and after the last there are no role and no members."""
    assert _roles(registry) == set()
    telemetry.note(replace(_FIGURES, role="leader"))
    telemetry.note(None)
    assert _roles(registry) == set()
    assert registry.get_sample_value("mnc_raft_is_leader") == 0
    assert registry.get_sample_value("mnc_cluster_members", {"kind": "voter"}) == 0


def test_new_leaders_are_counted(registry: CollectorRegistry, telemetry: ClusterTelemetry) -> None:
    """A leader counts once in its term, also when it was lost from sight meanwhile."""
    for term, leader in [(3, None), (3, "b"), (3, None), (3, "b"), (4, None), (5, "b"), (6, "a")]:
        telemetry.note(replace(_FIGURES, term=term, leader=leader))
    assert registry.get_sample_value("mnc_raft_elections_total") == 3


def test_moves_are_counted(registry: CollectorRegistry, telemetry: ClusterTelemetry) -> None:
    """What is gained and what is lost are counted apart; leaving the group loses everything."""
    for owned in [{"users"}, {"users", "movies"}, {"movies", "orders"}]:
        telemetry.note(replace(_FIGURES, owned=frozenset(owned)))
    telemetry.note(None)
    value = registry.get_sample_value
    assert value("mnc_cluster_moves_total", {"direction": "gained"}) == 3
    assert value("mnc_cluster_moves_total", {"direction": "lost"}) == 3
    assert value("mnc_cluster_owned_collections") == 0
