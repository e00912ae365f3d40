"""What nodes send to one another; losing, repeating, delaying or reordering any is harmless.

The two of which there are many are named tuples, which are made in less time than dataclasses.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import NamedTuple

from mnc.raft.types import Entry, NodeId, Snapshot

__all__ = [
    "AppendEntries",
    "Appended",
    "Ballot",
    "Conflict",
    "InstallSnapshot",
    "Message",
    "RequestVote",
    "StaleTerm",
    "TimeoutNow",
    "Vote",
]


class Ballot(Enum):
    """What a vote is asked for."""

    PRE_VOTE = "pre-vote"
    """Whether an election could be won. Nobody changes its state (dissertation §9.6)."""

    ELECTION = "election"
    """Leadership of the term, because no leader was heard (paper §5.2)."""

    HANDOVER = "handover"
    """Leadership of the term with the consent of the leader of the term before it, which has given
    up its lease: those who still hear that leader vote as well (dissertation §3.10)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestVote:
    """Ask for a vote (paper §5.2)."""

    sender: NodeId
    receiver: NodeId
    term: int
    """The term to be elected for: in a pre-vote, the one after the sender's own."""
    ballot: Ballot
    last_index: int
    last_term: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Vote:
    """Answer `RequestVote`."""

    sender: NodeId
    receiver: NodeId
    term: int
    """The term that was asked for when granted, else the voter's own."""
    ballot: Ballot
    granted: bool


class AppendEntries(NamedTuple):
    """Replicate entries; without any, a heartbeat and a question whether the logs match (§5.3)."""

    sender: NodeId
    receiver: NodeId
    term: int
    round: int
    """The leader's tick when this was sent. The answer repeats it, so that the lease counts from
    the sending. Means nothing to anybody but that leader, in that term."""
    previous_index: int
    previous_term: int
    entries: tuple[Entry, ...]
    """Those after `previous_index`, without a gap."""
    commit_index: int


@dataclass(frozen=True, slots=True, kw_only=True)
class InstallSnapshot:
    """Replace a log that is behind what the leader has compacted (paper §7).

    Sent whole: the application keeps its state within what the driver's network takes in a message.
    """

    sender: NodeId
    receiver: NodeId
    term: int
    round: int
    snapshot: Snapshot


class Appended(NamedTuple):
    """The follower's log is durable, and the leader's, up to `match_index`."""

    sender: NodeId
    receiver: NodeId
    term: int
    round: int
    match_index: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Conflict:
    """The follower has no entry `previous_index` of the term that the leader has there.

    What it has instead lets the leader skip a term at a time (paper, end of §5.3).
    """

    sender: NodeId
    receiver: NodeId
    term: int
    round: int
    previous_index: int
    conflict_term: int | None
    """The term of the follower's entry at `previous_index`; None when its log is shorter."""
    conflict_index: int
    """The follower's first entry of that term, or the first index after its log."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StaleTerm:
    """Tell a leader that its term has passed (paper §5.1)."""

    sender: NodeId
    receiver: NodeId
    term: int


@dataclass(frozen=True, slots=True, kw_only=True)
class TimeoutNow:
    """Ask a follower to be elected at once, in the next term (dissertation §3.10)."""

    sender: NodeId
    receiver: NodeId
    term: int


Message = (
    AppendEntries
    | Appended
    | Conflict
    | InstallSnapshot
    | RequestVote
    | StaleTerm
    | TimeoutNow
    | Vote
)
