"""How nodes join and leave, one at a time (dissertation §4)."""

from __future__ import annotations

import pytest
from tests.raft.group import ELECTION_TICKS, TIMEOUT_TICKS, Group, ids

from mnc.raft import (
    AddLearner,
    AppendEntries,
    Change,
    Configuration,
    NodeId,
    Promote,
    Refusal,
    RefusedError,
    Remove,
    Role,
)
from mnc.raft.membership import changed

_A, _B, _C, _D = map(NodeId, "abcd")


def _refusal(group: Group, change: Change) -> Refusal:
    with pytest.raises(RefusedError) as refused:
        group["a"].change_membership(change)
    return refused.value.reason


def _do(group: Group, change: Change) -> None:
    group["a"].change_membership(change)
    group.settle()


def test_an_empty_node_never_campaigns() -> None:
    """A node that nobody has added waits, however long (dissertation §4.2.1)."""
    group = Group("abc", others="d")
    group.tick("d", 5 * TIMEOUT_TICKS)
    assert group["d"].soft_state.role is Role.FOLLOWER
    assert group.sent == []


def test_a_node_joins_as_a_learner_and_becomes_a_voter() -> None:
    """A new node gets the whole log first, and counts from its promotion on (§4.2.1)."""
    group = Group("abc", others="d")
    group.elect("a")
    group["a"].propose(b"x")
    group.settle()
    _do(group, AddLearner(_D))
    assert group.configuration("d") == ("abc", "d")
    assert group.commands("d") == [b"x"]
    _do(group, Promote(_D))
    assert [group.configuration(name) for name in "abcd"] == [("abcd", "")] * 4
    group.cut("ab")
    group["a"].propose(b"y")
    group.settle()
    assert group.commands("d") == [b"x", b"y"]


def test_a_learner_counts_for_nothing() -> None:
    """What the leader and a learner have is not committed, and a learner never campaigns."""
    group = Group("abc", others="d")
    group.elect("a")
    _do(group, AddLearner(_D))
    group.cut("ab", "ac")
    group["a"].propose(b"x")
    group.settle()
    assert group.commands("a") == []
    group.cut("da", "db", "dc")
    group.tick("d", 2 * TIMEOUT_TICKS)
    assert group["d"].soft_state.role is Role.FOLLOWER
    assert group["d"].soft_state.leader is None


def test_a_learner_is_promoted_when_it_has_caught_up() -> None:
    """A voter that lacks committed entries would hold up everything (§4.2.1)."""
    group = Group("abc", others="d")
    group.elect("a")
    group.cut("ad")
    _do(group, AddLearner(_D))
    assert _refusal(group, Promote(_D)) is Refusal.NOT_CAUGHT_UP
    group.join()
    group.tick("abcd", 2)
    _do(group, Promote(_D))
    assert group.configuration("a") == ("abcd", "")


def test_one_change_at_a_time() -> None:
    """The next change waits until the last one is committed (§4.1)."""
    group = Group("abc", others="d")
    group.elect("a")
    group.cut("ab", "ac")
    _do(group, Remove(_C))
    assert _refusal(group, AddLearner(_D)) is Refusal.CHANGE_PENDING
    group.join()
    group.tick("abc", 2)
    _do(group, AddLearner(_D))
    assert group.configuration("a") == ("ab", "d")


def test_no_change_before_the_term_has_committed() -> None:
    """A new leader changes nobody until its own first entry is committed."""
    group = Group("abc", others="d")
    group.lost = lambda message: isinstance(message, AppendEntries)
    group.elect("a")
    assert _refusal(group, AddLearner(_D)) is Refusal.TERM_NOT_COMMITTED


def test_a_configuration_counts_as_soon_as_it_is_in_the_log() -> None:
    """A removed voter isn't needed for committing its own removal (§4.1)."""
    group = Group("ab")
    group.elect("a")
    group.cut("ab")
    _do(group, Remove(_B))
    assert group.applied["a"][-1].payload == Configuration(voters=ids("a"))


def test_a_removed_node_learns_it_and_stands_still() -> None:
    """Whoever was removed is told once it is certain, and never campaigns any more."""
    group = Group("abc")
    group.elect("a")
    _do(group, Remove(_C))
    assert group.applied["c"][-1].payload == Configuration(voters=ids("ab"))
    group.sent.clear()
    group.tick("abc", 2 * TIMEOUT_TICKS)
    assert group.leaders() == "a"
    assert [message for message in group.sent if "c" in (message.sender, message.receiver)] == []


def test_a_removed_node_that_does_not_know_it_disturbs_nobody() -> None:
    """Whoever missed its own removal asks for votes that it doesn't get (§4.2.3)."""
    group = Group("abc")
    group.elect("a")
    group.cut("ac", "bc")
    _do(group, Remove(_C))
    group.join()
    group.tick("abc", 4 * TIMEOUT_TICKS)
    assert group["c"].soft_state.role is Role.PRE_CANDIDATE
    assert group.leaders() == "a"
    assert group["a"].soft_state.term == 2


def test_a_change_that_is_lost_is_undone() -> None:
    """A follower whose configuration is replaced by its leader's goes back to the one before."""
    group = Group("abc", others="d")
    group.elect("a")
    group.cut("ab", "ac", "ad")
    _do(group, AddLearner(_D))
    assert group.configuration("a") == ("abc", "d")
    group.elect("b")
    group.join()
    group.tick("abc", ELECTION_TICKS)
    assert group.configuration("a") == ("abc", "")


def test_a_configuration_survives_a_restart() -> None:
    """The members are those in the log and the snapshot, also after a crash."""
    group = Group("abc", others="d")
    group.elect("a")
    _do(group, AddLearner(_D))
    group.restart("b")
    assert group.configuration("b") == ("abc", "d")
    group.settle()
    group.compact("c")
    group.restart("c")
    assert group.configuration("c") == ("abc", "d")


def test_the_leader_is_not_removed() -> None:
    """It hands over first, so that no leader is outside its own configuration (§4.2.2)."""
    group = Group("abc")
    group.elect("a")
    assert _refusal(group, Remove(_A)) is Refusal.IS_LEADER


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (AddLearner(_A), Refusal.ALREADY_MEMBER),
        (AddLearner(_C), Refusal.ALREADY_MEMBER),
        (Promote(_A), Refusal.NOT_LEARNER),
        (Promote(_D), Refusal.NOT_LEARNER),
        (Remove(_D), Refusal.NOT_MEMBER),
    ],
)
def test_a_change_without_sense_is_refused(change: Change, reason: Refusal) -> None:
    """Who is in already is not added, and who is not in is neither promoted nor removed."""
    configuration = Configuration(voters=ids("ab"), learners=ids("c"))
    with pytest.raises(RefusedError) as refused:
        changed(configuration, change)
    assert refused.value.reason is reason


def test_a_learner_is_removed_too() -> None:
    """A node that never became a voter leaves as the others do."""
    configuration = Configuration(voters=ids("ab"), learners=ids("c"))
    assert changed(configuration, Remove(_C)) == Configuration(voters=ids("ab"))
