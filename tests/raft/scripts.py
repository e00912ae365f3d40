"""Schedules written by hand, for what random ones hardly ever find.

Each of them ends well, and raises BrokenInvariantError when the rule that it is about is left out.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import replace

from tests.raft.group import ELECTION_TICKS, SETTINGS, TIMEOUT_TICKS, Group, ids
from tests.raft.oracle import BrokenInvariantError, Oracle

from mnc.raft import (
    AppendEntries,
    Entry,
    HardState,
    NodeId,
    Persisted,
    RefusedError,
    Remove,
    Snapshot,
    TimeoutNow,
    bootstrap,
)

__all__ = ["SCRIPTS"]


def figure_8() -> None:
    """Replace an entry of an old term that a majority has (paper, figure 8)."""
    snapshot: Snapshot = bootstrap(ids("abcde"), Oracle.state(1)).snapshot

    def disk(term: int, *terms: int) -> Persisted:
        """Store the paper's terms and indices, each one more: the first ones are the founding's."""
        return Persisted(
            hard_state=HardState(term=term + 1),
            snapshot=snapshot,
            entries=tuple(
                Entry(index=index, term=entry_term + 1, payload=b"%d" % entry_term)
                for index, entry_term in enumerate(terms, 2)
            ),
        )

    group = Group(
        "abcde",
        disks={
            "a": disk(3, 1, 2),
            "b": disk(2, 1, 2),
            "c": disk(3, 1),
            "d": disk(3, 1),
            "e": disk(3, 1, 3),
        },
        settings=replace(SETTINGS, max_entries_per_append=1),
    )
    # (c): a leads the paper's term 4. It brings its entry of term 2 to c, but nothing of term 4 to
    # anybody.
    group.lost = lambda message: (
        message.receiver in ids("de")
        or message.sender in ids("de")
        or (
            isinstance(message, AppendEntries) and any(entry.term == 5 for entry in message.entries)
        )
    )
    group.elect("a")
    group.tick("abc", 4)
    # (d): e is elected by b, c and d, once it knows that this term has passed, and replaces it.
    group.cut("ab", "ac", "ad", "ae")
    group.elect("e")
    group.elect("e")
    group.join()
    group.tick("abcde", 4)


def restart_within_a_lease() -> None:
    """Restart a voter that the leader's lease rests on, while another node campaigns."""
    group = Group("abc")
    group.elect("a")
    group.cut("ac")
    group.tick("abc", TIMEOUT_TICKS - 1)
    group.restart("b")
    group.tick("c", 1)


def unheard_leader() -> None:
    """Elect a leader that nobody hears, and at once another one."""
    group = Group("abc")
    group.lost = lambda message: message.sender == "a" and isinstance(message, AppendEntries)
    group.elect("a")
    for _ in range(TIMEOUT_TICKS):
        group["c"].tick()
    group.cut("ac")
    group.settle()


def late_takeover() -> None:
    """Ask a node to take over, give up waiting for it, and let it hear only then."""
    group = Group("abc")
    group.elect("a")
    group.lost = lambda message: isinstance(message, TimeoutNow)
    group["a"].transfer_leadership(NodeId("b"))
    group.tick("abc", ELECTION_TICKS + 2)
    asked = [message for message in group.sent if isinstance(message, TimeoutNow)]
    group.cut("ab")
    group.deliver(asked[0])


def two_successors() -> None:
    """Tell both followers at once that their leader is gone; one is elected, in no time."""
    group = Group("abc")
    group.elect("a")
    group.crash("a")
    for name in "bc":
        group[name].leader_is_gone(NodeId("a"))
    group.settle()
    _expect_a_successor(group)


def told_one_after_the_other() -> None:
    """Tell the followers that their leader is gone, in either order; one is elected at once."""
    for names in ("bc", "cb"):
        group = Group("abc")
        group.elect("a")
        group.crash("a")
        for name in names:
            group[name].leader_is_gone(NodeId("a"))
            group.settle()
        _expect_a_successor(group)


def _expect_a_successor(group: Group) -> None:
    if group.leaders() != "b":
        raise BrokenInvariantError("b doesn't succeed a")


def two_changes_of_one_configuration() -> None:
    """Let two leaders remove each another node from the same four (dissertation §4.1)."""
    group = Group("abcd")
    group.elect("a")
    group.tick("abcd", 2)
    group.cut("ab", "ac", "ad")
    group["a"].change_membership(Remove(NodeId("d")))
    group.settle()
    # b leads with the votes of all but a. Nothing that it appends reaches c, and its first entry
    # can't be committed without c.
    group.lost = lambda message: (
        "a" in (message.sender, message.receiver)
        or (isinstance(message, AppendEntries) and message.receiver == "c")
    )
    group.elect("b")
    with suppress(RefusedError):
        group["b"].change_membership(Remove(NodeId("a")))
    group.settle()
    # a needs only c, which knows nothing of b's entries.
    group.cut("ab", "ad", "bc", "cd")
    group.elect("a")  # only learns from c that b's term has passed
    group.elect("a")
    group.tick("abcd", 4)


SCRIPTS: Mapping[str, Callable[[], None]] = {
    script.__name__: script
    for script in (
        figure_8,
        late_takeover,
        restart_within_a_lease,
        told_one_after_the_other,
        two_changes_of_one_configuration,
        two_successors,
        unheard_leader,
    )
}
"""By name."""
