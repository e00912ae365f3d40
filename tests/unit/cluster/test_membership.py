"""How the leader keeps the group whole."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import count

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mnc.cluster.membership import GIVEN_UP_AFTER_S, Follower, next_change
from mnc.raft import AddLearner, Change, Configuration, NodeId, Promote, Remove
from mnc.raft.membership import changed

_LEADER, _B, _C, _D, _E, _F = (NodeId(name) for name in "abcdef")
_NODES = [_LEADER, _B, _C, _D, _E, _F]
_ANSWERS_WITHIN_S = 0.5

_ALIVE = Follower(silent_s=0.1, is_caught_up=True)
_BEHIND = Follower(silent_s=0.1, is_caught_up=False)
_SILENT = Follower(silent_s=1.0, is_caught_up=True)
_GONE = Follower(silent_s=GIVEN_UP_AFTER_S, is_caught_up=True)


def _next(
    voters: Mapping[NodeId, Follower],
    learners: Mapping[NodeId, Follower] | None = None,
    *,
    size: int = 3,
    greeting: Mapping[NodeId, str] | None = None,
    names: Mapping[NodeId, str] | None = None,
) -> Change | None:
    learners = learners or {}
    return next_change(
        Configuration(voters=frozenset(voters) | {_LEADER}, learners=frozenset(learners)),
        size=size,
        node=_LEADER,
        followers={**voters, **learners},
        greeting=greeting or {},
        names=names or {},
        answers_within_s=_ANSWERS_WITHIN_S,
    )


def test_whole_group_stays_as_it_is() -> None:
    """With enough live voters, learners stand by."""
    assert _next({_B: _ALIVE, _C: _ALIVE}) is None
    assert _next({_B: _ALIVE, _C: _ALIVE}, {_D: _ALIVE}) is None


def test_who_says_hello_becomes_a_learner() -> None:
    """Everybody who looks for the group is sent the log, also when no voter is missing."""
    assert _next({_B: _ALIVE, _C: _ALIVE}, greeting={_D: "pod-3"}) == AddLearner(_D)
    assert _next({_B: _ALIVE, _C: _ALIVE}, {_D: _BEHIND}, greeting={_D: "pod-3"}) is None


def test_learner_fills_a_free_place_once_it_has_caught_up() -> None:
    """A learner is promoted while voters are missing, and not before it has the whole log."""
    assert _next({_B: _ALIVE}, {_D: _BEHIND}) is None
    assert _next({_B: _ALIVE}, {_D: _SILENT}) is None
    assert _next({_B: _ALIVE}, {_D: _ALIVE}) == Promote(_D)


def test_silent_voter_gives_way_to_a_learner_that_is_ready() -> None:
    """A voter that was silent for ten seconds is replaced, and kept while nobody could do that."""
    assert _next({_B: _ALIVE, _C: _SILENT}, {_D: _ALIVE}) is None
    assert _next({_B: _ALIVE, _C: _GONE}) is None
    assert _next({_B: _ALIVE, _C: _GONE}, {_D: _BEHIND}) is None
    assert _next({_B: _ALIVE, _C: _GONE}, {_D: _ALIVE}) == Remove(_C)


def test_instance_with_a_new_disk_replaces_itself_at_once() -> None:
    """A learner with the name of a voter that doesn't answer needn't wait ten seconds."""
    names = {_B: "pod-1", _C: "pod-2", _D: "pod-2"}
    assert _next({_B: _ALIVE, _C: _SILENT}, {_D: _BEHIND}, names=names) is None
    assert _next({_B: _ALIVE, _C: _SILENT}, {_D: _ALIVE}, names=names) == Remove(_C)
    assert _next({_B: _SILENT, _C: _ALIVE}, {_D: _ALIVE}, names=names) is None
    greeting = {_D: "pod-2"}
    assert _next(
        {_B: _ALIVE, _C: _SILENT}, {_D: _ALIVE}, names={_C: "pod-2"}, greeting=greeting
    ) == Remove(_C)


def test_two_instances_with_one_name_can_both_be_voters() -> None:
    """A name given twice by mistake replaces nobody who answers."""
    names = dict.fromkeys(_NODES, "pod")
    assert _next({_B: _ALIVE, _C: _ALIVE}, {_D: _ALIVE}, names=names) is None


def test_unknown_names_are_not_alike() -> None:
    """Two members whose names nobody knows aren't taken for one."""
    assert _next({_B: _ALIVE, _C: _SILENT}, {_D: _ALIVE}) is None


def test_most_silent_voter_goes_first() -> None:
    """Of several voters that are gone, the one that was so first is replaced first."""
    longer = Follower(silent_s=60, is_caught_up=False)
    voters = {_B: _ALIVE, _C: _ALIVE, _D: _GONE, _E: longer}
    assert _next(voters, {_F: _ALIVE}, size=5) == Remove(_E)


def test_silent_learner_is_removed() -> None:
    """A learner that is gone isn't kept, unless it still says hello: it was added just now."""
    assert _next({_B: _ALIVE, _C: _ALIVE}, {_D: _SILENT}) is None
    assert _next({_B: _ALIVE, _C: _ALIVE}, {_D: _GONE}) == Remove(_D)
    assert _next({_B: _ALIVE, _C: _ALIVE}, {_D: _GONE}, greeting={_D: "pod-3"}) is None


def test_cluster_that_was_made_smaller_drops_who_is_gone() -> None:
    """With more voters than the size, a silent one counts no longer, whoever is ready."""
    assert _next({_B: _ALIVE, _C: _ALIVE, _D: _GONE, _E: _GONE}) == Remove(_D)
    assert _next({_B: _ALIVE, _C: _ALIVE, _D: _ALIVE}) is None


@st.composite
def _groups(draw: st.DrawFn) -> tuple[Configuration, int, frozenset[NodeId]]:
    """Draw a group with a live majority, its size, and who is alive in it and outside of it."""
    size = draw(st.sampled_from([3, 5]))
    others = draw(st.permutations(_NODES[1:]))
    voters = frozenset({_LEADER, *others[: draw(st.integers(0, 5))]})
    learners = draw(st.frozensets(st.sampled_from(_NODES))) - voters
    dead = draw(st.frozensets(st.sampled_from(sorted(voters)), max_size=(len(voters) - 1) // 2))
    dead |= draw(st.frozensets(st.sampled_from(_NODES))) - voters
    return (
        Configuration(voters=voters, learners=learners),
        size,
        frozenset(_NODES) - (dead - {_LEADER}),
    )


@pytest.mark.parametrize("gone", [_GONE, _SILENT], ids=["gone", "silent"])
@given(group=_groups(), names=st.lists(st.sampled_from(["p", "q", "r"]), min_size=6, max_size=6))
def test_group_heals_step_by_step(
    gone: Follower, group: tuple[Configuration, int, frozenset[NodeId]], names: list[str]
) -> None:
    """One change after the other leads to enough live voters, and each keeps a live majority."""
    configuration, size, live = group
    called = dict(zip(_NODES, names, strict=True))
    for step in count():
        assert step < 20, "no end"
        change = next_change(
            configuration,
            size=size,
            node=_LEADER,
            followers={
                node: _ALIVE if node in live else gone for node in configuration.members - {_LEADER}
            },
            greeting={node: called[node] for node in live - configuration.members},
            names=called,
            answers_within_s=_ANSWERS_WITHIN_S,
        )
        if change is None:
            break
        assert change != Remove(_LEADER)
        configuration = changed(configuration, change)
        assert len(configuration.voters & live) >= configuration.quorum
    assert live <= configuration.members
    if gone is _GONE and len(live) >= size:
        assert configuration.members == live
        assert len(configuration.voters) >= size
    if len(configuration.voters) > size:
        assert len(configuration.voters) <= len(group[0].voters)
