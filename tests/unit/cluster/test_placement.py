"""Which member owns which collection."""

from __future__ import annotations

from collections import Counter
from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mnc.cluster.placement import OnLeader, Policy, Spread, place
from mnc.cluster.state import (
    Assign,
    ClusterState,
    Join,
    Leave,
    Member,
    Release,
    Share,
    apply,
    initial_state,
)
from mnc.model import Epoch
from mnc.raft import NodeId

_A, _B, _C = (NodeId(name) for name in "abc")
_NODES = [NodeId(name) for name in "abcd"]
_NAMES = ["c1", "c2", "c3", "c4", "c5"]

_MEMBER = Member(name="pod", incarnation="1")

_lives = st.frozensets(st.sampled_from(_NODES))


@st.composite
def _states(draw: st.DrawFn) -> ClusterState:
    """Draw a state that any past may have led to."""
    shares = {}
    for number, name in enumerate(draw(st.lists(st.sampled_from(_NAMES), unique=True))):
        owner, heir = draw(st.permutations(_NODES))[:2]
        shares[name] = Share(
            owner=owner, epoch=Epoch(number), heir=heir if draw(st.booleans()) else None
        )
    members = draw(_lives)
    return ClusterState(
        generation=1,
        next_epoch=99,
        revision=7,
        members=dict.fromkeys(members, _MEMBER),
        shares=shares,
    )


_wanted = st.frozensets(st.sampled_from(_NAMES))
_policies = st.one_of(st.just(Spread()), st.sampled_from(_NODES).map(OnLeader))


def _placed(
    state: ClusterState,
    *,
    collections: frozenset[str],
    live: frozenset[NodeId],
    policy: Policy,
) -> ClusterState:
    command = place(state, collections=collections, live=live, policy=policy)
    return state if command is None else apply(state, command)


def _holders(state: ClusterState, live: frozenset[NodeId]) -> dict[str, NodeId]:
    """Say who has each collection when the handovers are done, and nobody dead."""
    held = {}
    for name, share in state.shares.items():
        if share.heir in live and share.heir is not None:
            held[name] = share.heir
        elif share.owner in live:
            held[name] = share.owner
    return held


def _settled(state: ClusterState, live: frozenset[NodeId]) -> ClusterState:
    """Let every living owner release what it has an heir for."""
    for name, share in state.shares.items():
        if share.heir is not None and share.owner in live:
            state = apply(state, Release(collection=name, node=share.owner, epoch=share.epoch))
    return state


@given(_states(), _wanted, _lives)
def test_work_is_balanced(
    state: ClusterState, wanted: frozenset[str], live: frozenset[NodeId]
) -> None:
    """Each live member gets as many collections as the others, or one more."""
    workers = live & state.members.keys()
    after = _placed(state, collections=wanted, live=live, policy=Spread())
    if workers:
        load = Counter(_holders(after, live).values())
        least, extra = divmod(len(wanted), len(workers))
        assert load.keys() <= workers
        assert sorted(load[worker] for worker in workers) == sorted(
            [least + 1] * extra + [least] * (len(workers) - extra)
        )


@given(_states(), _wanted, _lives)
def test_fewest_collections_move(
    state: ClusterState, wanted: frozenset[str], live: frozenset[NodeId]
) -> None:
    """No other balanced placement changes fewer holders."""
    workers = sorted(live & state.members.keys())
    if not workers:
        return
    names = sorted(wanted)
    before = _holders(state, live)
    after = _holders(_placed(state, collections=wanted, live=live, policy=Spread()), live)

    def moves(owners: tuple[NodeId, ...]) -> int:
        return sum(before.get(name) != owner for name, owner in zip(names, owners, strict=True))

    def is_balanced(owners: tuple[NodeId, ...]) -> bool:
        loads = [owners.count(worker) for worker in workers]
        return max(loads) - min(loads) <= 1

    fewest = min(
        moves(owners) for owners in product(workers, repeat=len(names)) if is_balanced(owners)
    )
    assert moves(tuple(after[name] for name in names)) == fewest


@given(_states(), _wanted, _lives, _policies)
def test_placing_is_done_at_once(
    state: ClusterState, wanted: frozenset[str], live: frozenset[NodeId], policy: Policy
) -> None:
    """What `place` says is all: asked again, before and after the handovers, it says nothing."""
    after = _placed(state, collections=wanted, live=live, policy=policy)
    assert place(after, collections=wanted, live=live, policy=policy) is None
    settled = _settled(after, live)
    assert place(settled, collections=wanted, live=live, policy=policy) is None


@given(_states(), _wanted, _lives, _policies)
def test_nobody_dead_owns_anything(
    state: ClusterState, wanted: frozenset[str], live: frozenset[NodeId], policy: Policy
) -> None:
    """With somebody to give to, every collection has a live owner, and no dead heir."""
    after = _placed(state, collections=wanted, live=live, policy=policy)
    targets = live & state.members.keys()
    if isinstance(policy, OnLeader):
        targets &= {policy.leader}
    if targets:
        assert after.shares.keys() == wanted
        for share in after.shares.values():
            assert share.owner in live
            assert share.heir is None or share.heir in targets
    else:
        assert after.shares == {
            name: share for name, share in state.shares.items() if name in wanted
        }


@given(_states(), _wanted, _lives, _policies)
def test_living_owner_is_asked_before_another_begins(
    state: ClusterState, wanted: frozenset[str], live: frozenset[NodeId], policy: Policy
) -> None:
    """A collection whose owner lives changes hands only by a handover."""
    after = _placed(state, collections=wanted, live=live, policy=policy)
    for name in wanted & state.shares.keys():
        if state.shares[name].owner in live:
            assert after.shares[name].owner == state.shares[name].owner


@given(_states(), _wanted, _lives)
def test_leader_has_everything(
    state: ClusterState, wanted: frozenset[str], live: frozenset[NodeId]
) -> None:
    """With the policy for it, the leader gets all collections once it has joined."""
    after = _placed(state, collections=wanted, live=live | {_A}, policy=OnLeader(_A))
    if _A in state.members:
        assert set(_holders(after, live | {_A}).values()) <= {_A}
        assert after.shares.keys() == wanted


@given(_wanted, st.lists(st.tuples(st.sampled_from(_NODES), st.booleans()), max_size=8))
def test_each_change_moves_a_fair_part(
    wanted: frozenset[str], changes: list[tuple[NodeId, bool]]
) -> None:
    """While members come and go, none gives away more than a newcomer's part, and none flaps."""
    state = initial_state(1, first_epoch=1)
    live: frozenset[NodeId] = frozenset()
    for node, comes in changes:
        if comes == (node in live):
            continue
        before = _holders(state, live)
        live = live | {node} if comes else live - {node}
        state = apply(
            state,
            Join(node=node, name="pod", incarnation="1")
            if comes
            else Leave(node=node, incarnation="1"),
        )
        state = _settled(_placed(state, collections=wanted, live=live, policy=Spread()), live)
        after = _holders(state, live)
        moved = {name for name in before if after.get(name) != before[name]}
        if comes:
            assert {after[name] for name in moved} <= {node}
        elif live:
            assert {before[name] for name in moved} <= {node}


def test_who_has_most_keeps_the_one_more() -> None:
    """What doesn't divide evenly stays where it is."""
    shares = {
        name: Share(owner=owner, epoch=Epoch(number))
        for number, (name, owner) in enumerate(zip(_NAMES, [_A, _A, _B, _B, _B], strict=True))
    }
    members = {_A: _MEMBER, _B: _MEMBER}
    state = ClusterState(generation=1, next_epoch=9, members=members, shares=shares)
    assert place(state, collections=shares.keys(), live=members.keys(), policy=Spread()) is None


def test_placement_does_not_depend_on_the_process() -> None:
    """Members and collections are taken in the order of their names, not in that of a set."""
    names = [f"c{number}" for number in range(8)]
    nodes = [NodeId(f"node-{number}") for number in range(8)]
    state = ClusterState(generation=1, next_epoch=9, members=dict.fromkeys(nodes, _MEMBER))
    command = place(state, collections=frozenset(names), live=frozenset(nodes), policy=Spread())
    assert command == Assign(revision=0, grants=dict(zip(names, nodes, strict=True)))


def test_who_has_left_hands_over() -> None:
    """A member that stops keeps each collection until it has drained it."""
    state = ClusterState(
        generation=1,
        next_epoch=9,
        members={_B: _MEMBER},
        shares={"users": Share(owner=_A, epoch=Epoch(1))},
    )
    assert place(
        state, collections=frozenset({"users"}), live=frozenset({_A, _B}), policy=Spread()
    ) == Assign(revision=0, handovers={"users": _B})


@pytest.mark.parametrize("others", [frozenset({_A}), frozenset({_A, _C})], ids=len)
def test_dead_heir_is_replaced(others: frozenset[NodeId]) -> None:
    """When an heir dies, the owner goes on in a new epoch, or hands over to another."""
    state = ClusterState(
        generation=1,
        next_epoch=9,
        members=dict.fromkeys(others | {_B}, _MEMBER),
        shares={
            "movies": Share(owner=_A, epoch=Epoch(1)),
            "users": Share(owner=_A, epoch=Epoch(2), heir=_B),
        },
    )
    command = place(state, collections=frozenset(state.shares), live=others, policy=Spread())
    assert command == (
        Assign(revision=0, handovers={"users": _C})
        if _C in others
        else Assign(revision=0, grants={"users": _A})
    )
