"""Handing the leadership over (dissertation §3.10)."""

from __future__ import annotations

import pytest
from tests.raft.group import ELECTION_TICKS, Group

from mnc.raft import AddLearner, NodeId, Refusal, RefusedError, TimeoutNow

_A, _B, _C = map(NodeId, "abc")


def test_the_target_leads_at_once() -> None:
    """A handover takes no time-out."""
    group = Group("abc")
    group.elect("a")
    group["a"].transfer_leadership(_B)
    group.settle()
    assert group.leaders() == "b"


def test_the_target_is_brought_up_to_date_first() -> None:
    """A target that lags gets the log before it is asked."""
    group = Group("abc")
    group.elect("a")
    group.cut("ab")
    group["a"].propose(b"x")
    group.settle()
    group["a"].transfer_leadership(_B)
    group.settle()
    assert group.leaders() == "a"
    group.join()
    group.tick("abc", 2)
    assert group.leaders() == "b"
    assert group.commands("b") == [b"x"]


def test_proposals_are_refused_meanwhile() -> None:
    """A leader that hands over takes nothing that its successor might not have."""
    group = Group("abc")
    group.elect("a")
    group.cut("ab")
    group["a"].transfer_leadership(_B)
    for ask in (
        lambda: group["a"].propose(b"x"),
        lambda: group["a"].transfer_leadership(_C),
    ):
        with pytest.raises(RefusedError) as refused:
            ask()
        assert refused.value.reason is Refusal.TRANSFERRING


def test_a_transfer_to_a_node_that_is_away_ends() -> None:
    """After an election time-out the leader goes on, in the same term if nobody was asked."""
    group = Group("abc")
    group.elect("a")
    group.cut("ab")
    group["a"].propose(b"x")
    group.settle()
    group["a"].transfer_leadership(_B)
    group.tick("abc", ELECTION_TICKS)
    assert group.leaders() == "a"
    assert group["a"].soft_state.term == 2
    group["a"].propose(b"y")


def test_a_target_that_was_asked_in_vain_is_overtaken() -> None:
    """Whoever was asked may still try, so the leader leads on in the next term."""
    group = Group("abc")
    group.elect("a")
    group.lost = lambda message: isinstance(message, TimeoutNow)
    group["a"].transfer_leadership(_B)
    group.tick("abc", ELECTION_TICKS)
    assert group.leaders() == "a"
    assert group["a"].soft_state.term == 3
    group["a"].propose(b"x")


@pytest.mark.parametrize(
    ("target", "reason"),
    [(_A, Refusal.IS_LEADER), (NodeId("d"), Refusal.NOT_VOTER), (NodeId("z"), Refusal.NOT_VOTER)],
)
def test_only_another_voter_can_take_over(target: NodeId, reason: Refusal) -> None:
    """Nobody is asked who could not be elected."""
    group = Group("abc", others="d")
    group.elect("a")
    with pytest.raises(RefusedError) as refused:
        group["a"].transfer_leadership(target)
    assert refused.value.reason is reason


def test_a_follower_cannot_hand_over() -> None:
    """Only the leader has something to hand over."""
    group = Group("abc")
    group.elect("a")
    with pytest.raises(RefusedError) as refused:
        group["b"].transfer_leadership(_C)
    assert refused.value.reason is Refusal.NOT_LEADER


@pytest.mark.parametrize("name", ["a", "b", "d"])
def test_a_late_request_to_take_over_is_ignored(name: str) -> None:
    """Neither the leader, nor a follower in a later term, nor a learner campaigns for it."""
    group = Group("abc", others="d")
    group.elect("a")
    group["a"].change_membership(AddLearner(NodeId("d")))
    group.settle()
    term = group["a"].soft_state.term
    asked = TimeoutNow(sender=_C, receiver=NodeId(name), term=term - (name == "b"))
    group.deliver(asked)
    assert group.leaders() == "a"
    assert group["a"].soft_state.term == term
