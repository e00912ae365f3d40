"""What must be true after every event, whatever has happened (paper, figure 3)."""

from __future__ import annotations

from collections.abc import Sequence

from mnc.raft import Configuration, Entry, NodeId, Payload, Raft, Role, Snapshot
from mnc.raft.leader import Leadership

__all__ = ["BrokenInvariantError", "Oracle"]


class BrokenInvariantError(AssertionError):
    """The group did what it must never do, or failed to do what it must."""


class Oracle:
    """Remembers what the group has done, and checks that nothing contradicts it.

    Each check looks at what is new only; that it holds for the rest follows by induction.
    """

    __slots__ = ("_committed", "_leaders", "_seen")

    def __init__(self, founding: Snapshot) -> None:
        self._leaders: dict[int, NodeId] = {}
        """Who was elected in each term."""
        self._seen: dict[tuple[int, int], tuple[int | None, Payload]] = {}
        """By index and term: the term of the entry before, and the payload."""
        founded = Entry(index=1, term=1, payload=founding.configuration)
        self._committed: list[tuple[Entry, int]] = [(founded, 1)]
        """Each with the term of the node that was first to apply it, after the founding."""

    def committed_at(self, index: int) -> Entry:
        """Return a committed entry."""
        return self._committed[index - 1][0]

    def on_entries(self, raft: Raft, entries: Sequence[Entry]) -> None:
        """Check the invariants of `Log`, and log matching.

        Log matching: an entry's index and term determine everything up to it.
        """
        log = raft._log
        if not log.snapshot.index <= log.commit_index <= log.last_index:
            raise BrokenInvariantError(f"{raft.node} has committed what it doesn't have")
        previous_term = log.term_at(entries[0].index - 1)
        for index, entry in enumerate(entries, entries[0].index):
            if entry.index != index or entry.term < (previous_term or 0):
                raise BrokenInvariantError(f"{raft.node} has a gap or an old term at {index}")
            found = (previous_term, entry.payload)
            known = self._seen.setdefault((entry.index, entry.term), found)
            if known != found and None not in (known[0], previous_term):
                raise BrokenInvariantError(
                    f"{raft.node} has another entry {entry.index} of term {entry.term}"
                )
            previous_term = entry.term

    def on_applied(self, node: NodeId, entries: Sequence[Entry], term: int) -> None:
        """Check state machine safety: whoever applies an entry applies the same."""
        committed = self._committed
        for entry in entries:
            if entry.index > len(committed):
                committed.append((entry, term))
            elif committed[entry.index - 1][0] != entry:
                raise BrokenInvariantError(f"{node} applies another entry {entry.index}")

    def on_role(self, raft: Raft) -> None:
        """Check that nobody campaigns or leads but a voter of its own configuration."""
        role = raft.soft_state.role
        if role is not Role.FOLLOWER and raft.node not in raft.configuration.voters:
            raise BrokenInvariantError(f"{raft.node} is no voter, but a {role.value}")

    def on_progress(self, raft: Raft, *, max_inflight: int) -> None:
        """Check the invariants of `Progress` in a leader."""
        state = raft._state
        if not isinstance(state, Leadership):
            return
        for follower, progress in state.followers.items():
            if not progress.match_index < progress.next_index <= raft.last_entry[1] + 1:
                raise BrokenInvariantError(f"{raft.node} has lost count of {follower}")
            if len(progress._inflight or ()) > max_inflight:
                raise BrokenInvariantError(f"{raft.node} has sent {follower} too much at once")

    def on_leader(self, raft: Raft) -> None:
        """Check a node that has become leader: election safety and leader completeness."""
        term = raft.soft_state.term
        other = self._leaders.setdefault(term, raft.node)
        if other != raft.node:
            raise BrokenInvariantError(f"term {term} has two leaders: {other} and {raft.node}")
        log = raft._log
        for entry, commit_term in reversed(self._committed):
            if commit_term < term:
                if entry.index > log.snapshot.index and log.term_at(entry.index) != entry.term:
                    raise BrokenInvariantError(
                        f"{raft.node} leads term {term} without the committed entry "
                        f"{entry.index} of term {entry.term}"
                    )
                return

    def on_restored(self, node: NodeId, snapshot: Snapshot) -> None:
        """Check the snapshot that a node restores: it is the state after its last entry."""
        past = [entry for entry, _ in self._committed[: snapshot.index]]
        configurations = [
            entry.payload for entry in past if isinstance(entry.payload, Configuration)
        ]
        if (
            snapshot.data != self.state(snapshot.index)
            or (past and past[-1].term != snapshot.term)
            or (configurations and configurations[-1] != snapshot.configuration)
        ):
            raise BrokenInvariantError(f"{node} restores a wrong snapshot {snapshot.index}")

    @staticmethod
    def state(index: int) -> bytes:
        """Return what the application's state is after an entry; after the first, the initial."""
        return b"%d" % index if index else b""

    def leases(self, leaders: Sequence[Raft]) -> None:
        """Check the leases: while one is valid, nobody leads a later term."""
        newest = max((raft.soft_state.term for raft in leaders), default=0)
        for raft in leaders:
            if raft.soft_state.term < newest and raft.lease_is_valid:
                raise BrokenInvariantError(
                    f"{raft.node} has a lease in term {raft.soft_state.term} "
                    f"while {self._leaders[newest]} leads term {newest}"
                )
