"""What a node is in its term."""

from __future__ import annotations

from dataclasses import dataclass

from mnc.raft.leader import Leadership
from mnc.raft.messages import Ballot
from mnc.raft.types import Configuration, NodeId, Role, SoftState

__all__ = ["Following", "Polling", "State", "describe"]


@dataclass(slots=True, kw_only=True)
class Following:
    """Not a candidate: hears `leader`, or waits for one."""

    leader: NodeId | None


@dataclass(slots=True, kw_only=True)
class Polling:
    """Counts who voted for this node, each voter once."""

    ballot: Ballot
    granted: set[NodeId]

    def is_won(self, configuration: Configuration) -> bool:
        """Whether a majority of the voters is for this node (paper §5.2)."""
        return len(self.granted & configuration.voters) >= configuration.quorum


State = Following | Polling | Leadership


def describe(state: State, *, node: NodeId, term: int) -> SoftState:
    """Return what a node in this state tells its driver."""
    match state:
        case Following(leader=leader):
            return SoftState(term=term, role=Role.FOLLOWER, leader=leader)
        case Polling(ballot=Ballot.PRE_VOTE):
            return SoftState(term=term, role=Role.PRE_CANDIDATE, leader=None)
        case Polling():
            return SoftState(term=term, role=Role.CANDIDATE, leader=None)
        case Leadership():
            return SoftState(term=term, role=Role.LEADER, leader=node)
