"""What instances send to one another beside Raft's own messages."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NewType

from mnc.raft import Message, NodeId

__all__ = ["ClusterMessage", "GroupId", "Hello", "Probe", "Propose"]

GroupId = NewType("GroupId", str)
"""A group that was founded; a name that is never used again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Hello:
    """Say to everybody that one is looking for a group, or for a leader of the one it is in."""

    sender: NodeId
    name: str
    """What a person calls the instance; a new disk under an old name replaces the old one."""
    group: GroupId | None
    """The group on the sender's disk; None for an empty disk."""
    last_term: int
    last_index: int
    """How much of that group's log the sender has: as in an election, the later one has more."""
    leaderless_s: float
    """For how long the sender has known no leader, in seconds; since its start at most."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Probe:
    """Ask nothing: only whether the receiver is connected, which the broker answers."""

    sender: NodeId
    receiver: NodeId


@dataclass(frozen=True, slots=True, kw_only=True)
class Propose:
    """Ask the leader to append a command; repeated by the sender until it sees the effect."""

    sender: NodeId
    receiver: NodeId
    command: bytes


ClusterMessage = Message | Hello | Probe | Propose
"""All but Hello go to one receiver; every one may be lost, repeated, delayed and reordered."""
