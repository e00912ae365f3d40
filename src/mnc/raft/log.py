"""A node's log: the snapshot, the entries after it, and how far they are committed."""

from __future__ import annotations

from collections.abc import Sequence

from mnc.raft.types import Configuration, Entry, Payload, Snapshot

__all__ = ["Log"]


class Log:
    """The replicated log as one node has it.

    Invariants: entries follow the snapshot without a gap, their terms never decrease, and
    `snapshot.index <= commit_index <= last_index`. An entry that is committed never changes. The
    configuration is the newest in the log, committed or not (dissertation §4.1).
    """

    __slots__ = (
        "_configurations",
        "_entries",
        "_handed_index",
        "commit_index",
        "last_index",
        "last_term",
        "snapshot",
        "unstable_index",
    )

    def __init__(self, snapshot: Snapshot, entries: Sequence[Entry]) -> None:
        self.snapshot = snapshot
        self.last_index = snapshot.index
        self.last_term = snapshot.term
        self.commit_index = snapshot.index
        """Not stored: a node that restarts learns it from its leader (paper, figure 2)."""
        self._entries: list[Entry] = []
        self._configurations = [(snapshot.index, snapshot.configuration)]
        """Those in the log with their index, after the snapshot's."""
        self._handed_index = snapshot.index
        """The last committed entry that `take_committed` has returned."""
        self._extend(entries)
        self.unstable_index = self.last_index + 1
        """The first entry that `take_unstable` has not returned."""

    @property
    def configuration(self) -> Configuration:
        """The members, from the newest configuration on, committed or not."""
        return self._configurations[-1][1]

    @property
    def configuration_index(self) -> int:
        """Where the newest configuration stands."""
        return self._configurations[-1][0]

    def term_at(self, index: int) -> int | None:
        """Return the term of an entry, or None when it is compacted or doesn't exist."""
        offset = index - self.snapshot.index
        if offset > 0:
            return self._entries[offset - 1].term if index <= self.last_index else None
        return self.snapshot.term if offset == 0 else None

    def slice(self, first_index: int, limit: int) -> tuple[Entry, ...]:
        """Return up to `limit` entries from `first_index` on, which is not compacted."""
        start = first_index - self.snapshot.index - 1
        return tuple(self._entries[start : start + limit])

    def batch(self, first_index: int, *, max_entries: int, max_bytes: int) -> tuple[Entry, ...]:
        """Return the entries from `first_index` on that one message may hold.

        The first is among them however large it is. Only commands count as bytes: the rest of an
        entry is small.
        """
        entries = self.slice(first_index, max_entries)
        size_bytes = 0
        for position, entry in enumerate(entries):
            if isinstance(entry.payload, bytes):
                size_bytes += len(entry.payload)
                if size_bytes > max_bytes and position > 0:
                    return entries[:position]
        return entries

    def is_up_to_date(self, last_index: int, last_term: int) -> bool:
        """Say whether a log that ends so holds all that this one may have committed (§5.4.1)."""
        return (last_term, last_index) >= (self.last_term, self.last_index)

    def append(self, term: int, payload: Payload) -> Entry:
        """Add a leader's entry at the end."""
        entry = Entry(index=self.last_index + 1, term=term, payload=payload)
        self._extend((entry,))
        return entry

    def matches(self, index: int, term: int) -> bool:
        """Say whether this log and that of a leader with this entry are the same up to it (§5.3).

        What the snapshot contains is committed, so every later leader has it too.
        """
        return index < self.snapshot.index or self.term_at(index) == term

    def accept(self, entries: Sequence[Entry]) -> None:
        """Take over a leader's entries, which follow one that matches.

        Only an entry of another term is replaced, with all that follow it: entries that match may
        be followed by some that the leader has sent later and counts on (paper, figure 2).
        """
        for position, entry in enumerate(entries):
            if not self.matches(entry.index, entry.term):
                if entry.index <= self.last_index:
                    self._truncate(entry.index)
                self._extend(entries[position:])
                return

    def conflict_at(self, index: int) -> tuple[int | None, int]:
        """Return the term at `index` and where it begins, or None and the end of a shorter log."""
        term = self.term_at(index)
        if term is None:
            return None, self.last_index + 1
        first = index
        while first > self.snapshot.index + 1 and self.term_at(first - 1) == term:
            first -= 1
        return term, first

    def last_of_term(self, term: int, *, before: int) -> int | None:
        """Return the last entry of `term` before an index, or None when there is none."""
        index = before - 1
        while (found := self.term_at(index)) is not None and found >= term:
            if found == term:
                return index
            index -= 1
        return None

    def commit(self, index: int) -> None:
        """Advance the commit index; it never goes back."""
        self.commit_index = max(self.commit_index, index)

    def compact(self, index: int, data: bytes) -> Snapshot:
        """Replace the entries up to `index`, which are applied, by a snapshot (paper §7)."""
        term = self.term_at(index)
        if term is None:
            raise ValueError(f"entry {index} is not in the log; it begins after the snapshot's")
        past = [known for known in self._configurations if known[0] <= index]
        snapshot = Snapshot(index=index, term=term, configuration=past[-1][1], data=data)
        del self._entries[: index - self.snapshot.index]
        self._configurations[: len(past)] = [(index, snapshot.configuration)]
        self.snapshot = snapshot
        return snapshot

    def take_unstable(self) -> tuple[Entry, ...]:
        """Return the entries to be stored, from the first new or replaced one on, once."""
        if self.unstable_index > self.last_index:
            return ()
        first, self.unstable_index = self.unstable_index, self.last_index + 1
        return self.slice(first, self.last_index + 1 - first)

    def take_committed(self) -> tuple[Entry, ...]:
        """Return the committed entries to be applied, once."""
        if self._handed_index >= self.commit_index:
            return ()
        first, self._handed_index = self._handed_index + 1, self.commit_index
        return self.slice(first, self.commit_index + 1 - first)

    def _extend(self, entries: Sequence[Entry]) -> None:
        if not entries:
            return
        self._entries.extend(entries)
        self.last_index = entries[-1].index
        self.last_term = entries[-1].term
        for entry in entries:
            if isinstance(entry.payload, Configuration):
                self._configurations.append((entry.index, entry.payload))

    def _truncate(self, first_index: int) -> None:
        del self._entries[first_index - self.snapshot.index - 1 :]
        self.last_index = first_index - 1
        # _extend follows in every case, and sets the last term.
        self.unstable_index = min(self.unstable_index, first_index)
        while self._configurations[-1][0] >= first_index:
            self._configurations.pop()
