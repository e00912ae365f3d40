"""How far a leader knows one follower to be."""

from __future__ import annotations

from collections import deque

__all__ = ["NO_ROUND", "Progress"]

NO_ROUND = -1
"""No round was answered yet. The first one is that of tick 0."""


class Progress:
    """What the leader has heard from a follower, and what it has sent to it.

    Entries are sent ahead of the answers (pipelining, dissertation §10.2.1), until a conflict shows
    that something was lost or that the logs differ. Then the leader *probes*: nothing but empty
    messages, until one of them matches.

    Invariants: `match_index < next_index`. At most `max_inflight_appends` messages with entries
    are unanswered.
    """

    __slots__ = (
        "_inflight",
        "_max_inflight",
        "answered_round",
        "match_index",
        "next_index",
    )

    def __init__(self, *, next_index: int, max_inflight: int) -> None:
        self.match_index = 0
        """The follower's log is the leader's up to here, on its disk."""
        self.next_index = next_index
        """The next entry to send."""
        self.answered_round = NO_ROUND
        """The newest round that the follower has answered."""
        self._max_inflight = max_inflight
        self._inflight: deque[int] | None = deque()
        """The last entry of each unanswered message; None while probing."""

    @property
    def may_send(self) -> bool:
        """Whether the follower may be sent entries."""
        return self._inflight is not None and len(self._inflight) < self._max_inflight

    def sent(self, last_index: int) -> None:
        """Count a message with entries up to `last_index`."""
        if self._inflight is not None:
            self._inflight.append(last_index)
        self.next_index = last_index + 1

    def probe(self, next_index: int) -> None:
        """Find out whether the follower's log matches before `next_index`."""
        self.next_index = max(next_index, self.match_index + 1)
        self._inflight = None

    def matched(self, index: int) -> None:
        """Note that the follower's log is the leader's up to `index`."""
        self.match_index = max(self.match_index, index)
        self.next_index = max(self.next_index, index + 1)
        if self._inflight is None:
            self._inflight = deque()
        while self._inflight and self._inflight[0] <= index:
            self._inflight.popleft()
