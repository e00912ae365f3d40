"""A member's view of its cluster, as `/status` and the metrics show it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from mnc.cluster.messages import GroupId
from mnc.cluster.state import ClusterState, Member, Share
from mnc.cluster.view import ClusterView
from mnc.model import Epoch
from mnc.raft import Configuration, NodeId, Role, SoftState

_A, _B, _C = NodeId("a"), NodeId("b"), NodeId("c")

_VIEW = ClusterView(
    node=_A,
    group=GroupId("group"),
    soft_state=SoftState(term=4, role=Role.FOLLOWER, leader=_B),
    commit_index=9,
    configuration=Configuration(voters=frozenset({_A, _B}), learners=frozenset({_C})),
    state=ClusterState(
        generation=1,
        next_epoch=8,
        members={_A: Member(name="mnc-0", incarnation="i"), _C: Member(name="x", incarnation="j")},
        shares={
            "users": Share(owner=_A, epoch=Epoch(6), heir=_B),
            "movies": Share(owner=_B, epoch=Epoch(7)),
        },
    ),
)


def test_the_status_names_members_and_owners() -> None:
    """The status has every member, with its vote, and every collection, with its owner."""
    status = _VIEW.status()
    assert status["members"] == [
        {"node": "a", "name": "mnc-0", "joined": True, "votes": True},
        {"node": "b", "name": None, "joined": False, "votes": True},
        {"node": "c", "name": "x", "joined": True, "votes": False},
    ]
    assert status["assignment"] == [
        {"collection": "movies", "owner": "b", "epoch": 7, "heir": None},
        {"collection": "users", "owner": "a", "epoch": 6, "heir": "b"},
    ]
    assert (status["term"], status["leader"], status["commit_index"]) == (4, "b", 9)


def test_figures_count_what_the_status_names() -> None:
    """The metrics' figures are the status's, and what is being handed over is still owned."""
    figures = _VIEW.figures()
    assert (figures.voters, figures.spares, figures.joined) == (2, 1, 2)
    assert (figures.term, figures.leader, figures.commit_index) == (4, "b", 9)
    assert figures.owned == {"users"}


@pytest.mark.parametrize(("node", "role"), [(_A, "follower"), (_C, "spare")])
def test_who_has_no_vote_is_a_spare(node: NodeId, role: str) -> None:
    """A member without a vote follows too, and is called a spare."""
    view = replace(_VIEW, node=node)
    assert (view.status()["role"], view.figures().role) == (role, role)
