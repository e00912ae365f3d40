"""Who may lead: terms, votes, pre-votes and loyalty to a leader that was heard."""

from __future__ import annotations

import pytest
from tests.raft.group import ELECTION_TICKS, SETTINGS, TIMEOUT_TICKS, Group, ids

from mnc.raft import (
    Ballot,
    HardState,
    NodeId,
    Persisted,
    Raft,
    RequestVote,
    Role,
    Vote,
    bootstrap,
)

_A, _B, _C = map(NodeId, "abc")


def _node(*, term: int = 1, vote: NodeId | None = None, loyal: bool = False) -> Raft:
    """Return the voter `a` of three, which has or has not just started."""
    raft = Raft(
        _A,
        persisted=Persisted(
            hard_state=HardState(term=term, vote=vote), snapshot=bootstrap(ids("abc")).snapshot
        ),
        settings=SETTINGS,
        election_timeout_ticks=lambda: TIMEOUT_TICKS,
    )
    for _ in range(0 if loyal else ELECTION_TICKS):
        raft.tick()
    return raft


def _ask(raft: Raft, *, candidate: NodeId = _B, term: int, ballot: Ballot) -> list[Vote]:
    raft.step(
        RequestVote(
            sender=candidate, receiver=_A, term=term, ballot=ballot, last_index=1, last_term=1
        )
    )
    ready = raft.take_ready()
    raft.advance()
    return [message for message in ready.messages if isinstance(message, Vote)] if ready else []


def test_the_first_to_time_out_leads() -> None:
    """A voter that hears no leader is elected by the others (paper §5.2)."""
    group = Group("abc")
    group.elect("b")
    assert group.leaders() == "b"
    assert {group[name].soft_state.leader for name in "abc"} == {_B}


def test_a_lone_voter_leads_itself() -> None:
    """A group of one elects and commits without anybody's help."""
    group = Group("a")
    group.elect("a")
    group["a"].propose(b"x")
    group.settle()
    assert group.commands("a") == [b"x"]


def test_a_vote_is_given_once_in_a_term() -> None:
    """Of two candidates of a term one gets the vote, however often they ask (paper §5.2)."""
    raft = _node(term=1)
    assert [v.granted for v in _ask(raft, term=2, ballot=Ballot.ELECTION)] == [True]
    assert [v.granted for v in _ask(raft, candidate=_C, term=2, ballot=Ballot.ELECTION)] == [False]
    assert [v.granted for v in _ask(raft, term=2, ballot=Ballot.ELECTION)] == [True]


def test_a_vote_survives_a_restart() -> None:
    """A node that voted before it crashed does not vote for another one in that term."""
    raft = _node(term=2, vote=_B)
    assert [v.granted for v in _ask(raft, candidate=_C, term=2, ballot=Ballot.ELECTION)] == [False]


def test_a_vote_is_stored_before_it_is_sent() -> None:
    """The Ready with the vote's message has the vote itself to be stored first (figure 2)."""
    raft = _node(term=1)
    raft.step(
        RequestVote(
            sender=_B, receiver=_A, term=2, ballot=Ballot.ELECTION, last_index=1, last_term=1
        )
    )
    ready = raft.take_ready()
    assert ready is not None
    assert ready.hard_state == HardState(term=2, vote=_B)
    assert [type(message) for message in ready.messages] == [Vote]


def test_a_candidate_stores_its_own_vote_before_it_asks() -> None:
    """A candidate that forgot its vote could vote for another one in its own term."""
    group = Group("abc")
    for _ in range(TIMEOUT_TICKS):
        group["a"].tick()
    group["b"].tick()
    ready = group["a"].take_ready()
    assert ready is not None
    assert ready.hard_state is None, "a pre-vote changes nothing"
    group["a"].advance()
    group["a"].step(Vote(sender=_B, receiver=_A, term=2, ballot=Ballot.PRE_VOTE, granted=True))
    ready = group["a"].take_ready()
    assert ready is not None
    assert ready.hard_state == HardState(term=2, vote=_A)
    assert {type(message) for message in ready.messages} == {RequestVote}


def test_a_shorter_log_is_not_elected() -> None:
    """Nobody votes for a candidate whose log lacks entries of its own (paper §5.4.1)."""
    group = Group("abc")
    group.elect("a")
    group.cut("ac", "bc")
    group["a"].propose(b"x")
    group.settle()
    group.cut("ab", "ac")
    group.tick("a", 2 * ELECTION_TICKS)
    group.elect("c")
    assert group.leaders() == ""
    group.elect("b")
    assert group.leaders() == "b"


def test_a_pre_vote_changes_nothing() -> None:
    """Answering a pre-vote, a voter keeps its term and its vote (dissertation §9.6)."""
    raft = _node(term=1)
    for candidate in (_B, _C):
        (vote,) = _ask(raft, candidate=candidate, term=2, ballot=Ballot.PRE_VOTE)
        assert vote.granted
    assert raft.soft_state.term == 1


def test_a_node_that_was_cut_off_deposes_nobody() -> None:
    """A node that can't win keeps its term, and comes back as a follower (§9.6)."""
    group = Group("abc")
    group.elect("a")
    group.cut("ac", "bc")
    group.tick("abc", 4 * TIMEOUT_TICKS)
    assert group["c"].soft_state.role is Role.PRE_CANDIDATE
    group.join()
    group.tick("abc", 4)
    assert group.leaders() == "a"
    assert {group[name].soft_state.term for name in "abc"} == {2}


@pytest.mark.parametrize("ballot", [Ballot.PRE_VOTE, Ballot.ELECTION])
def test_who_hears_a_leader_ignores_candidates(ballot: Ballot) -> None:
    """For the shortest election time-out not even a later term counts (dissertation §4.2.3)."""
    raft = _node(loyal=True)
    for _ in range(ELECTION_TICKS - 1):
        raft.tick()
        assert _ask(raft, term=9, ballot=ballot) == []
    assert raft.soft_state.term == 1
    raft.tick()
    assert [vote.granted for vote in _ask(raft, term=9, ballot=ballot)] == [True]


def test_a_handover_needs_no_disloyalty() -> None:
    """Who was asked by the leader to take over gets votes at once (dissertation §3.10)."""
    raft = _node(loyal=True)
    assert [vote.granted for vote in _ask(raft, term=9, ballot=Ballot.HANDOVER)] == [True]


def test_a_leader_without_a_majority_steps_down() -> None:
    """A leader that no majority answers for the longest time-out says so (dissertation §6.2)."""
    group = Group("abc")
    group.elect("a")
    group.tick("abc", 4)
    group.cut("ab", "ac")
    group.tick("a", 2 * ELECTION_TICKS - 1)
    assert group.leaders() == "a"
    group.tick("a", 1)
    assert group["a"].soft_state.role is Role.FOLLOWER
    assert group["a"].soft_state.leader is None


def test_a_stale_leader_learns_of_the_later_term() -> None:
    """A leader of a past term steps down when it talks to somebody who knows better (§5.1)."""
    group = Group("abc")
    group.elect("a")
    group.cut("ab", "ac")
    for name, ticks in {"a": ELECTION_TICKS - 1, "b": TIMEOUT_TICKS, "c": ELECTION_TICKS}.items():
        for _ in range(ticks):
            group[name].tick()
    group.settle()
    assert group.leaders() == "ab"
    group.lost = lambda message: message.sender == "b" and message.receiver == "a"
    group["a"].propose(b"x")
    group.settle()
    assert group.leaders() == "b"
    assert group["a"].soft_state.term == group["b"].soft_state.term


def test_a_time_out_under_the_shortest_is_refused() -> None:
    """Leases rest on the shortest election time-out, so a shorter one is an error."""
    with pytest.raises(ValueError, match="9 ticks"):
        Raft(_A, persisted=Persisted(), settings=SETTINGS, election_timeout_ticks=lambda: 9)


def test_votes_of_another_ballot_do_not_count() -> None:
    """A late vote of an earlier term, a pre-vote or one of a stranger elects nobody."""
    raft = _node(term=1)
    for _ in range(TIMEOUT_TICKS):
        raft.tick()
    raft.step(_granted(term=2, ballot=Ballot.PRE_VOTE))
    assert _role(raft) is Role.CANDIDATE
    for late in (
        _granted(term=1, ballot=Ballot.ELECTION),
        _granted(term=2, ballot=Ballot.PRE_VOTE),
        _granted(term=2, ballot=Ballot.ELECTION, voter=NodeId("z")),
    ):
        raft.step(late)
        assert _role(raft) is Role.CANDIDATE
    raft.step(_granted(term=2, ballot=Ballot.ELECTION))
    assert _role(raft) is Role.LEADER


def _role(raft: Raft) -> Role:
    return raft.soft_state.role


def _granted(*, term: int, ballot: Ballot, voter: NodeId = _B) -> Vote:
    return Vote(sender=voter, receiver=_A, term=term, ballot=ballot, granted=True)


def test_who_voted_waits_for_the_winner() -> None:
    """A vote starts the voter's time-out again, so that it doesn't compete (paper §5.2)."""
    raft = _node(term=1)
    for _ in range(TIMEOUT_TICKS - ELECTION_TICKS - 1):
        raft.tick()
    _ask(raft, term=1, ballot=Ballot.ELECTION)
    for _ in range(TIMEOUT_TICKS - 1):
        raft.tick()
    assert _role(raft) is Role.FOLLOWER
    raft.tick()
    assert _role(raft) is Role.PRE_CANDIDATE


def test_a_leader_ignores_candidates() -> None:
    """A leader gives way to a majority that has turned away, not to one candidate."""
    group = Group("abc")
    group.elect("a")
    group.tick("abc", 2 * ELECTION_TICKS)
    group.cut("ab", "ac", "bc")
    assert _ask(group["a"], term=9, ballot=Ballot.ELECTION) == []
    assert group.leaders() == "a"
