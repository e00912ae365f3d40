"""How entries get into every log, and when they are committed."""

from __future__ import annotations

from dataclasses import replace

import pytest
from tests.raft.group import SETTINGS, Group, ids
from tests.raft.oracle import Oracle

from mnc.raft import (
    Appended,
    AppendEntries,
    Conflict,
    Entry,
    HardState,
    NodeId,
    NoOp,
    Persisted,
    Refusal,
    RefusedError,
    bootstrap,
)


def _disk(*terms: int) -> Persisted:
    """Return a voter of three with entries of these terms after the founding."""
    return Persisted(
        hard_state=HardState(term=max(1, *terms)),
        snapshot=bootstrap(ids("abc"), Oracle.state(1)).snapshot,
        entries=tuple(
            Entry(index=index, term=term, payload=b"%d of %d" % (index, term))
            for index, term in enumerate(terms, 2)
        ),
    )


def test_what_is_proposed_is_applied_everywhere() -> None:
    """Every node applies the same commands in the same order (paper, figure 3)."""
    group = Group("abc")
    group.elect("a")
    for command in (b"x", b"y", b"z"):
        group["a"].propose(command)
    group.settle()
    assert [group.commands(name) for name in "abc"] == [[b"x", b"y", b"z"]] * 3


def test_a_proposal_returns_its_entry() -> None:
    """The driver knows its command again by the entry's index and term."""
    group = Group("abc")
    group.elect("a")
    entry = group["a"].propose(b"x")
    group.settle()
    assert group.applied["a"][-1] == entry


def test_only_the_leader_takes_proposals() -> None:
    """A follower refuses, and says whom to ask."""
    group = Group("abc")
    group.elect("a")
    with pytest.raises(RefusedError) as refused:
        group["b"].propose(b"x")
    assert refused.value.reason is Refusal.NOT_LEADER
    assert refused.value.leader == "a"


def test_an_entry_is_stored_before_it_is_acknowledged() -> None:
    """The Ready with the acknowledgement has the entry to be stored first (figure 2)."""
    group = Group("abc")
    group.elect("a")
    group["a"].propose(b"x")
    leaders = group["a"].take_ready()
    assert leaders is not None
    (append,) = [message for message in leaders.messages if message.receiver == "b"]
    group["b"].step(append)
    ready = group["b"].take_ready()
    assert ready is not None
    assert ready.entries == leaders.entries
    assert [type(message) for message in ready.messages] == [Appended]


def test_an_entry_without_a_majority_is_not_committed() -> None:
    """What a minority has is applied nowhere, and goes when the majority has another leader."""
    group = Group("abc")
    group.elect("a")
    group.cut("ab", "ac")
    group["a"].propose(b"lost")
    group.settle()
    group.elect("b")
    group["b"].propose(b"kept")
    group.settle()
    group.join()
    group.tick("abc", 4)
    assert [group.commands(name) for name in "abc"] == [[b"kept"]] * 3


def test_a_term_begins_with_an_entry_of_its_own() -> None:
    """What earlier terms left is committed by the new leader's first entry (paper §8)."""
    group = Group("abc", disks={"a": _disk(2, 2), "b": _disk(2, 2)})
    group.elect("a")
    assert group.applied["a"][-1].payload == NoOp()
    assert group.commands("c") == [b"2 of 2", b"3 of 2"]


def test_an_entry_that_differs_is_replaced_with_all_that_follow() -> None:
    """A follower's log becomes the leader's, whatever it was (paper, figure 7)."""
    group = Group("abc", disks={"a": _disk(2, 2, 5, 5), "b": _disk(2, 2, 3, 3, 3), "c": _disk(2)})
    group.elect("a")  # learns the term
    group.elect("a")
    group.tick("abc", 4)
    expected = [b"2 of 2", b"3 of 2", b"4 of 5", b"5 of 5"]
    assert [group.commands(name) for name in "abc"] == [expected] * 3


def test_a_conflict_skips_a_term_at_a_time() -> None:
    """A follower with many entries of a wrong term is found out in a step or two (end of §5.3)."""
    group = Group("abc", disks={"a": _disk(2, 4), "b": _disk(2, *[3] * 50), "c": _disk(2)})
    group.elect("a")
    group.tick("abc", 4)
    assert group.leaders() == "a"
    assert sum(isinstance(message, Conflict) for message in group.sent) <= 4
    assert group["b"].last_entry[1] == group["a"].last_entry[1]


def test_a_late_message_truncates_nothing() -> None:
    """Entries that match stay, with those after them, which the leader may count (figure 2)."""
    group = Group("abc")
    group.elect("a")
    group["a"].propose(b"x")
    group.settle()
    late = next(m for m in group.sent if isinstance(m, AppendEntries) and m.entries)
    group["a"].propose(b"y")
    group.settle()
    stored = group["b"].last_entry[1]
    group.deliver(late)
    assert group["b"].last_entry[1] == stored


def test_no_more_than_the_window_is_in_flight() -> None:
    """To a follower that doesn't answer, only so many messages with entries are sent."""
    group = Group("abc")
    group.elect("a")
    group.sent.clear()
    group.lost = lambda message: isinstance(message, Appended) and message.sender == "b"
    for number in range(20):
        group["a"].propose(b"%d" % number)
        group.settle()
    to_b = [m for m in group.sent if isinstance(m, AppendEntries) and m.receiver == "b"]
    assert sum(bool(message.entries) for message in to_b) == SETTINGS.max_inflight_appends
    assert len(group.commands("c")) == 20


def test_a_message_has_no_more_entries_than_allowed() -> None:
    """Catching up is done in bounded pieces."""
    group = Group("abc", settings=replace(SETTINGS, max_entries_per_append=3))
    group.elect("a")
    group.cut("ac")
    for number in range(20):
        group["a"].propose(b"%d" % number)
        group.settle()
    group.join()
    group.tick("abc", 4)
    assert len(group.commands("c")) == 20
    assert max(len(m.entries) for m in group.sent if isinstance(m, AppendEntries)) <= 3


@pytest.mark.parametrize(("max_bytes", "at_most"), [(1, 1), (30, 3), (39, 3), (40, 4)])
def test_a_message_has_no_more_bytes_than_allowed(max_bytes: int, at_most: int) -> None:
    """A message with several entries fits the network; one entry goes however large it is."""
    group = Group("abc", settings=replace(SETTINGS, max_append_bytes=max_bytes))
    group.elect("a")
    group.cut("ac")
    for number in range(8):
        group["a"].propose(b"%010d" % number)
        group.settle()
    group.join()
    group.tick("abc", 4)
    assert len(group.commands("c")) == 8
    assert max(len(m.entries) for m in group.sent if isinstance(m, AppendEntries)) == at_most


def test_what_was_lost_is_sent_again() -> None:
    """The next heartbeat finds out that messages were lost."""
    group = Group("abc")
    group.elect("a")
    group.lost = lambda message: isinstance(message, AppendEntries) and bool(message.entries)
    group["a"].propose(b"x")
    group.settle()
    group.join()
    group.tick("abc", 4)
    assert [group.commands(name) for name in "abc"] == [[b"x"]] * 3


def test_a_restarted_follower_catches_up() -> None:
    """A node that crashed applies everything again, and what it missed."""
    group = Group("abc")
    group.elect("a")
    group["a"].propose(b"x")
    group.settle()
    group.restart("b")
    group["a"].propose(b"y")
    group.settle()
    assert group.commands("b") == [b"x", b"y"]


def test_the_leader_knows_how_far_its_followers_are() -> None:
    """The driver sees who has stored what, and nobody but the leader knows."""
    group = Group("abc")
    group.elect("a")
    group.cut("ac")
    before = group["a"].match_index[NodeId("c")]
    group["a"].propose(b"x")
    group.settle()
    assert group["a"].match_index == {
        NodeId("b"): group["a"].last_entry[1],
        NodeId("c"): before,
    }
    assert group["b"].match_index == {}


def test_a_ready_is_finished_before_the_next() -> None:
    """Taking a Ready while another is being handled is an error of the driver."""
    group = Group("abc")
    group.elect("a")
    group["a"].propose(b"x")
    assert group["a"].take_ready() is not None
    group["a"].propose(b"y")
    with pytest.raises(RuntimeError, match="advance"):
        group["a"].take_ready()


def test_nothing_is_ready_when_nothing_happened() -> None:
    """A node that has said everything says None."""
    group = Group("abc")
    group.elect("a")
    assert [group[name].take_ready() for name in "abc"] == [None] * 3


def test_answers_to_an_earlier_term_do_not_count() -> None:
    """What was acknowledged in another term says nothing about this one's log."""
    group = Group("abc")
    group.elect("a")
    for leader, target in ("ab", "ba"):
        group[leader].transfer_leadership(NodeId(target))
        group.settle()
    group.cut("ab", "ac")
    entry = group["a"].propose(b"x")
    late = Appended(
        sender=NodeId("b"),
        receiver=NodeId("a"),
        term=entry.term - 1,
        round=0,
        match_index=entry.index,
    )
    group.deliver(late)
    assert group.commands("a") == []
    group.deliver(late._replace(term=entry.term))
    assert group.commands("a") == [b"x"]


def test_a_late_conflict_changes_nothing() -> None:
    """A conflict about what has matched meanwhile does not stop the pipeline."""
    group = Group("abc")
    group.elect("a")
    group["a"].propose(b"x")
    group.settle()
    group.sent.clear()
    group.deliver(
        Conflict(
            sender=NodeId("b"),
            receiver=NodeId("a"),
            term=2,
            round=0,
            previous_index=2,
            conflict_term=None,
            conflict_index=2,
        )
    )
    assert group.sent == []


def test_a_conflict_names_the_beginning_of_its_term() -> None:
    """The follower says where its wrong term begins, so that none of it is tried (§5.3)."""
    group = Group("abc", disks={"a": _disk(3, 3, 3, 3), "b": _disk(2, 2, 2, 2)})
    group.elect("a")
    conflict = next(message for message in group.sent if isinstance(message, Conflict))
    assert (conflict.conflict_term, conflict.conflict_index) == (2, 2)


def test_a_leader_goes_back_to_where_it_has_that_term_too() -> None:
    """The leader's own last entry of the follower's term is tried next (end of §5.3)."""
    group = Group("abc", disks={"a": _disk(2, 2, 3, 3, 3), "b": _disk(2, 2, 2, 2, 2)})
    group.elect("a")
    to_b = [m for m in group.sent if isinstance(m, AppendEntries) and m.receiver == "b"]
    assert [message.previous_index for message in to_b[:2]] == [6, 3]
