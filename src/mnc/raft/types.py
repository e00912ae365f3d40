"""The nouns of the core: entries, configurations, and what has to survive a crash."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from typing import NewType

__all__ = [
    "Configuration",
    "Entry",
    "HardState",
    "NoOp",
    "NodeId",
    "Payload",
    "Persisted",
    "Role",
    "Snapshot",
    "SoftState",
    "bootstrap",
]

NodeId = NewType("NodeId", str)
"""A member's name. It belongs to one disk: a node that lost its disk needs another one, because it
may have forgotten a vote."""


class Role(Enum):
    """What a node is doing in its term (paper §5.1, dissertation §9.6 for the pre-vote)."""

    FOLLOWER = "follower"
    PRE_CANDIDATE = "pre-candidate"
    CANDIDATE = "candidate"
    LEADER = "leader"


@dataclass(frozen=True, slots=True, kw_only=True)
class Configuration:
    """The members of the group (dissertation §4).

    Invariants: nobody is a voter and a learner at once. An empty configuration is that of a node
    that nobody has added yet.
    """

    voters: frozenset[NodeId] = frozenset()
    """Elect and commit by majority."""
    learners: frozenset[NodeId] = frozenset()
    """Receive the log without counting for anything (dissertation §4.2.1)."""

    @property
    def members(self) -> frozenset[NodeId]:
        """Everyone who is sent the log."""
        return self.voters | self.learners

    @property
    def quorum(self) -> int:
        """How many voters are a majority."""
        return len(self.voters) // 2 + 1


@dataclass(frozen=True, slots=True)
class NoOp:
    """Opens a leader's term: committing it commits what earlier terms left (paper §8)."""


Payload = bytes | Configuration | NoOp
"""A command of the application, a new configuration, or the beginning of a term."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One entry of the replicated log; the first index is 1 (paper §5.3)."""

    index: int
    term: int
    payload: Payload


@dataclass(frozen=True, slots=True, kw_only=True)
class HardState:
    """The term and the vote in it, which a node must not forget (paper, figure 2)."""

    term: int = 0
    vote: NodeId | None = None
    """Whom this node voted for in `term`; None for nobody."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """The application's state after the entry `index`, in place of the log up to it (paper §7)."""

    index: int = 0
    """The last entry that is contained; 0 for none."""
    term: int = 0
    """The term of that entry."""
    configuration: Configuration = field(default_factory=Configuration)
    """The newest configuration up to `index`."""
    data: bytes = b""
    """What the application gave to `compact`; empty for its initial state."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Persisted:
    """Everything that a node starts again from; the default is a node that was never started.

    Invariants: `entries` follow `snapshot.index` without a gap.
    """

    hard_state: HardState = field(default_factory=HardState)
    snapshot: Snapshot = field(default_factory=Snapshot)
    entries: tuple[Entry, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class SoftState:
    """What a node believes and may forget."""

    term: int
    role: Role
    leader: NodeId | None
    """Whom this node takes for the leader of `term`; None while it knows none."""


def bootstrap(voters: frozenset[NodeId]) -> Persisted:
    """Return what each of a new group's first voters stores before it starts for the first time.

    All of them must be given the same `voters`, and nobody else may be given any: nodes that join
    later start from `Persisted()`.
    """
    return Persisted(snapshot=Snapshot(configuration=Configuration(voters=voters)))
