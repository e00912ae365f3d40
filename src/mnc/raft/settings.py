"""How fast a group beats, and how much is in flight. All members have the same settings."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["RaftSettings"]


@dataclass(frozen=True, slots=True, kw_only=True)
class RaftSettings:
    """Times in ticks, whose length the driver chooses.

    Raises ValueError when a lease could end before the next heartbeat.

    Invariants: while a leader's lease is valid, each voter of some majority would still ignore
    every candidate that the leader has not consented to.
    """

    heartbeat_ticks: int = 2
    """A leader sends something to everybody this often."""

    min_election_ticks: int = 10
    """The shortest election time-out. Voters ignore candidates for as long after they have heard a
    leader, and a leader that no majority answered for as long steps down."""

    max_clock_drift: float = 0.05
    """By which share of the nominal length a tick may be longer or shorter, on any node: 0.05 lets
    the slowest clock take 1.05 times as long as the nominal one, and the fastest 0.95 times."""

    max_entries_per_append: int = 64
    """Entries in one message at most."""

    max_append_bytes: int = 512 * 1024
    """Bytes of commands in one message at most, unless it has a single entry. A broker takes 1 MiB
    in a message unless it's told otherwise, and base64 makes four bytes of three."""

    max_inflight_appends: int = 8
    """Messages with entries, for one follower, that may wait for their answer at most."""

    def __post_init__(self) -> None:
        if self.heartbeat_ticks < 1:
            raise ValueError(f"heartbeat_ticks is {self.heartbeat_ticks}; at least 1 is needed")
        if not 0 <= self.max_clock_drift < 1:
            raise ValueError(f"max_clock_drift is {self.max_clock_drift}; it lies in [0, 1)")
        if min(self.max_entries_per_append, self.max_append_bytes, self.max_inflight_appends) < 1:
            raise ValueError("at least one entry in one message must be allowed in flight")
        if self.lease_ticks <= self.heartbeat_ticks:
            raise ValueError(
                f"min_election_ticks is {self.min_election_ticks}, which leaves a lease of "
                f"{self.lease_ticks} ticks; it must be longer than heartbeat_ticks "
                f"({self.heartbeat_ticks})"
            )

    @property
    def lease_ticks(self) -> int:
        """How many ticks a lease lasts from the sending of what a majority answered.

        A voter's first tick may come at once, so `min_election_ticks` of them take at least
        `min_election_ticks - 1` of the fastest clock. On the leader, n ticks were counted in less
        than n + 1 of the slowest clock; that 1 is in the `<` of `Leadership.lease_is_valid`.
        """
        fastest, slowest = 1 - self.max_clock_drift, 1 + self.max_clock_drift
        return int((self.min_election_ticks - 1) * fastest / slowest)
