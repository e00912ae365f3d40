"""Raft."""

from mnc.raft.errors import Refusal, RefusedError
from mnc.raft.membership import AddLearner, Change, Promote, Remove
from mnc.raft.messages import (
    Appended,
    AppendEntries,
    Ballot,
    Conflict,
    InstallSnapshot,
    Message,
    RequestVote,
    StaleTerm,
    TimeoutNow,
    Vote,
)
from mnc.raft.node import FollowerStatus, Raft, Ready
from mnc.raft.settings import RaftSettings
from mnc.raft.types import (
    Configuration,
    Entry,
    HardState,
    NodeId,
    NoOp,
    Payload,
    Persisted,
    Role,
    Snapshot,
    SoftState,
    bootstrap,
)

__all__ = [
    "AddLearner",
    "AppendEntries",
    "Appended",
    "Ballot",
    "Change",
    "Configuration",
    "Conflict",
    "Entry",
    "FollowerStatus",
    "HardState",
    "InstallSnapshot",
    "Message",
    "NoOp",
    "NodeId",
    "Payload",
    "Persisted",
    "Promote",
    "Raft",
    "RaftSettings",
    "Ready",
    "Refusal",
    "RefusedError",
    "Remove",
    "RequestVote",
    "Role",
    "Snapshot",
    "SoftState",
    "StaleTerm",
    "TimeoutNow",
    "Vote",
    "bootstrap",
]
