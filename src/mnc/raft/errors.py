"""Why a node did not take what its driver asked of it."""

from __future__ import annotations

from enum import Enum

from mnc.raft.types import NodeId

__all__ = ["Refusal", "RefusedError"]


class Refusal(Enum):
    """Why a proposal, a change of the members or a transfer was refused."""

    NOT_LEADER = "this node is not the leader"
    TRANSFERRING = "the leadership is being transferred"
    TERM_NOT_COMMITTED = "no entry of this term is committed yet"
    CHANGE_PENDING = "the last change of the members is not committed yet"
    ALREADY_MEMBER = "that node is a member already"
    NOT_LEARNER = "that node is not a learner"
    NOT_MEMBER = "that node is not a member"
    NOT_VOTER = "that node is not a voter"
    NOT_CAUGHT_UP = "that learner lacks committed entries"
    IS_LEADER = "that node is the leader: transfer the leadership first"


class RefusedError(Exception):
    """Nothing was done. Whether to ask again, and whom, follows from `reason`."""

    def __init__(self, reason: Refusal, *, leader: NodeId | None = None) -> None:
        super().__init__(reason.value)
        self.reason = reason
        self.leader = leader
        """Whom to ask instead, if `reason` is NOT_LEADER and a leader is known."""
