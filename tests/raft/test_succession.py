"""What a group does when its leader's process is known to have ended."""

from __future__ import annotations

import pytest
from tests.raft.group import ELECTION_TICKS, TIMEOUT_TICKS, Group
from tests.raft.oracle import BrokenInvariantError

from mnc.raft import AddLearner, Ballot, NodeId, RequestVote, Role

_A, _B, _C, _D = map(NodeId, "abcd")


def _group(voters: str = "abc", *, others: str = "") -> Group:
    group = Group(voters, others=others)
    group.elect("a")
    group.tick(voters, 4)
    group.sent.clear()
    return group


def _tell(group: Group, names: str, gone: NodeId = _A) -> None:
    """Tell some nodes in the same moment."""
    for name in names:
        group[name].leader_is_gone(gone)
    group.settle()


@pytest.mark.parametrize("voters", ["ab", "abc", "abcd", "abcde"])
def test_who_is_told_elects_at_once(voters: str) -> None:
    """Without a tick, the first of the other voters leads, if they are a majority."""
    group = _group(voters)
    group.crash("a")
    _tell(group, voters[1:])
    assert group.leaders() == ("b" if len(voters) > 2 else "")


def test_one_candidate_is_enough() -> None:
    """Whoever learns it in the same moment waits for its turn, so that no votes are split."""
    group = _group()
    group.crash("a")
    _tell(group, "bc")
    assert {m.sender for m in group.sent if isinstance(m, RequestVote)} == {_B}


def test_the_next_voter_waits_for_its_turn() -> None:
    """Its time counts from when it is told, and leaves the voter before it a tick at least."""
    group = _group()
    group.crash("a")
    group.tick("bc", 5)
    _tell(group, "c")
    group.tick("c")
    assert group.sent == []
    group.tick("c")
    assert {m.sender for m in group.sent if isinstance(m, RequestVote)} == {_C}


def test_who_has_begun_already_goes_first() -> None:
    """A voter that answers a candidate late doesn't compete with it, whatever the order."""
    group = _group()
    group.crash("a")
    _tell(group, "c")
    group.tick("c", 2)
    _tell(group, "b")
    assert group.leaders() == "c"
    assert {m.sender for m in group.sent if isinstance(m, RequestVote)} == {_C}


def test_a_candidate_of_the_past_holds_up_nobody() -> None:
    """Whoever was ignored before the leader was heard again is no candidate any more."""
    group = _group()
    _tell(group, "c")
    group.tick("c", 2)
    group.tick("a", 2)
    group.crash("a")
    _tell(group, "bc")
    assert group.leaders() == "b"


def test_a_candidate_asks_once() -> None:
    """Whoever was asked answers when it learns the same, so there's no need to ask again."""
    group = _group()
    group.crash("a")
    _tell(group, "b")
    group.tick("bc", ELECTION_TICKS - 1)
    assert [m.receiver for m in group.sent if isinstance(m, RequestVote)] == [_A, _C]


def test_the_next_voter_succeeds_when_the_first_is_gone_too() -> None:
    """The others follow one after the other, within ticks."""
    group = _group("abcde")
    group.crash("a")
    group.crash("b")
    _tell(group, "cde")
    assert group.leaders() == ""
    group.tick("cde", 2)
    assert group.leaders() == "c"


def test_the_next_voter_succeeds_when_the_first_lacks_entries() -> None:
    """The rule that the longer log wins stands above the order (paper §5.4.1)."""
    group = _group()
    group.cut("ab")
    group["a"].propose(b"x")
    group.settle()
    group.crash("a")
    _tell(group, "bc")
    assert group.leaders() == ""
    group.tick("bc", 2)
    assert group.leaders() == "c"


def test_a_voter_that_is_not_told_stays_loyal() -> None:
    """Nobody believes a candidate that a leader is gone; its driver has to say so."""
    group = _group()
    group.crash("a")
    _tell(group, "b")
    group.tick("bc", ELECTION_TICKS - 1)
    assert group.leaders() == ""
    assert group["c"].soft_state.leader == _A
    _tell(group, "c")
    assert group.leaders() == "b"


def test_only_a_pre_vote_is_answered_late() -> None:
    """A real vote changes the term, so it's given to those who ask for it now."""
    group = _group()
    term = group["b"].soft_state.term
    request = RequestVote(
        sender=_C, receiver=_B, term=term + 5, ballot=Ballot.ELECTION, last_index=9, last_term=9
    )
    group.deliver(request)
    group.crash("a")
    _tell(group, "b")
    assert group["b"].soft_state.term == term


@pytest.mark.parametrize("gone", ["b", "c", "z"])
def test_a_report_about_another_node_changes_nothing(gone: str) -> None:
    """Neither a follower's end nor a leader's own concerns anybody's loyalty."""
    group = _group()
    _tell(group, "abc", gone=NodeId(gone))
    _tell(group, "a")
    assert group.leaders() == "a"
    assert group.sent == []


def test_a_learner_waits_for_the_next_leader() -> None:
    """A learner knows no leader then, and never succeeds one, whatever its name."""
    group = Group("bcd", others="a")
    group.elect("d")
    group["d"].change_membership(AddLearner(_A))
    group.settle()
    group.crash("d")
    _tell(group, "a", gone=_D)
    group.tick("a", TIMEOUT_TICKS)
    assert group["a"].soft_state.role is Role.FOLLOWER
    assert group["a"].soft_state.leader is None


def test_a_leader_that_is_heard_again_is_followed_again() -> None:
    """A report that was wrong is forgotten with the leader's next word."""
    group = _group()
    _tell(group, "c")
    group.tick("a", 2)
    assert group["c"].soft_state.leader == _A
    group.sent.clear()
    group.deliver(
        RequestVote(
            sender=_B, receiver=_C, term=9, ballot=Ballot.ELECTION, last_index=9, last_term=9
        )
    )
    assert group.sent == []


def test_a_wrong_report_costs_the_lease() -> None:
    """A leader that runs may believe in its lease while those who were told elect another."""
    group = _group()
    group.cut("ab", "ac")
    with pytest.raises(BrokenInvariantError, match="lease"):
        _tell(group, "bc")
