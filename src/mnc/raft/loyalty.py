"""What a node owes to the leader that it has heard."""

from __future__ import annotations

from mnc.raft.messages import RequestVote

__all__ = ["Loyalty"]


class Loyalty:
    """For how long a node ignores candidates (dissertation §4.2.3).

    A leader's lease counts on it: it lasts for the shortest election time-out since the leader was
    heard, unless the leader is known to be gone.
    """

    __slots__ = ("_shortest_ticks", "_ticks", "_unheeded")

    def __init__(self, *, shortest_ticks: int) -> None:
        self._shortest_ticks = shortest_ticks
        # A node that restarts may have heard a leader just before, whose lease counts on it.
        self._ticks = 0
        self._unheeded: RequestVote | None = None

    def tick(self) -> None:
        """Count a tick without a word from the leader."""
        self._ticks += 1

    def renew(self) -> None:
        """Hear the leader."""
        self._ticks = 0
        self._unheeded = None

    @property
    def is_owed(self) -> bool:
        """Whether the leader may count on this node to ignore candidates."""
        return self._ticks < self._shortest_ticks

    def ignore(self, candidate: RequestVote) -> None:
        """Keep the last pre-vote that was not answered, in case the leader turns out to be gone."""
        self._unheeded = candidate

    def end(self) -> RequestVote | None:
        """Owe nothing any more; return what was ignored since the leader was heard."""
        self._ticks = max(self._ticks, self._shortest_ticks)
        unheeded, self._unheeded = self._unheeded, None
        return unheeded
