"""Compacting the log, and bringing those up to date who need what is gone (paper §7)."""

from __future__ import annotations

import pytest
from tests.raft.group import Group, ids
from tests.raft.oracle import Oracle

from mnc.raft import AddLearner, Appended, Conflict, InstallSnapshot, NodeId, bootstrap


def _group_with_a_compacted_log() -> Group:
    group = Group("abc")
    group.elect("a")
    group.cut("ac", "bc")
    for command in (b"x", b"y", b"z"):
        group["a"].propose(command)
    group.settle()
    group.compact("a")
    return group


def test_who_joins_before_anything_was_compacted_gets_the_founding() -> None:
    """A node with an empty disk begins with what the group began with, not with its first entry."""
    group = Group("abc", others="d")
    group.elect("a")
    group["a"].propose(b"x")
    group["a"].change_membership(AddLearner(NodeId("d")))
    group.settle()
    assert group["d"].snapshot == bootstrap(ids("abc"), Oracle.state(1)).snapshot
    assert group.restored["d"] == Oracle.state(1)
    assert group.commands("d") == [b"x"]


def test_nobody_is_elected_in_the_term_of_the_founding() -> None:
    """The founding is of an earlier term than every leader, as all entries before its own are."""
    group = Group("abc")
    group.elect("a")
    assert group["a"].soft_state.term > group["a"].snapshot.term


def test_a_node_restarts_from_its_snapshot() -> None:
    """After compaction and a crash only what follows the snapshot is applied again."""
    group = _group_with_a_compacted_log()
    group.restart("a")
    assert group["a"].applied_index == 5
    group["a"].tick()
    group.elect("b")
    group["b"].propose(b"later")
    group.settle()
    assert group.commands("a") == [b"later"]


def test_a_follower_that_needs_what_is_gone_gets_the_snapshot() -> None:
    """The snapshot replaces the follower's log and state, and the log goes on after it."""
    group = _group_with_a_compacted_log()
    group.join()
    group.tick("abc", 4)
    group["a"].propose(b"later")
    group.settle()
    assert group.restored["c"] == b"5"
    assert group.commands("c") == [b"later"]
    assert group["c"].last_entry[1] == group["a"].last_entry[1]


def test_a_snapshot_is_stored_before_it_is_acknowledged() -> None:
    """The Ready with the acknowledgement has the snapshot to be stored first."""
    group = _group_with_a_compacted_log()
    group.lost = lambda message: isinstance(message, InstallSnapshot)
    group.sent.clear()
    group.tick("abc", 4)
    install = next(message for message in group.sent if isinstance(message, InstallSnapshot))
    group["c"].step(install)
    ready = group["c"].take_ready()
    assert ready is not None
    assert ready.snapshot == install.snapshot
    assert [type(message) for message in ready.messages] == [Appended]


def test_a_snapshot_that_was_lost_is_sent_again() -> None:
    """The next heartbeat finds out that the snapshot has not arrived."""
    group = _group_with_a_compacted_log()
    group.lost = lambda message: isinstance(message, InstallSnapshot)
    group.tick("abc", 4)
    group.join()
    group.tick("abc", 4)
    assert group["c"].snapshot.index == 5


def test_an_old_snapshot_changes_nothing() -> None:
    """A snapshot of what the node has is acknowledged and thrown away."""
    group = _group_with_a_compacted_log()
    group.join()
    group.tick("abc", 4)
    install = next(message for message in group.sent if isinstance(message, InstallSnapshot))
    group["a"].propose(b"later")
    group.settle()
    applied = list(group.applied["c"])
    group.deliver(install)
    assert group.applied["c"] == applied
    assert group["c"].last_entry[1] == group["a"].last_entry[1]


def test_a_late_message_from_before_the_snapshot_is_harmless() -> None:
    """Entries that the snapshot contains are skipped, those after it are taken."""
    group = Group("abc")
    group.elect("a")
    group["a"].propose(b"x")
    group.settle()
    late = [message for message in group.sent if message.receiver == "b"]
    group["a"].propose(b"y")
    group.settle()
    group.compact("b")
    group.sent.clear()
    for message in late:
        group.deliver(message)
    assert Conflict not in {type(message) for message in group.sent}
    group["a"].propose(b"z")
    group.settle()
    assert group.commands("b") == [b"x", b"y", b"z"]


@pytest.mark.parametrize("index", [4, 6])
def test_only_what_is_applied_is_compacted(index: int) -> None:
    """What isn't applied stays, and what is compacted can't be again."""
    group = _group_with_a_compacted_log()
    group["a"].propose(b"later")
    with pytest.raises(ValueError, match=f"entry {index}"):
        group["a"].compact(index, b"")
