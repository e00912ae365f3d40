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
    """One entry of the replicated log (paper §5.3); the founding stands for the one at index 1."""

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
    """The last entry that is contained; 0 for a node that was never in the group."""
    term: int = 0
    """The term of that entry."""
    configuration: Configuration = field(default_factory=Configuration)
    """The newest configuration up to `index`."""
    data: bytes = b""
    """What the application gave to `compact`, or to `bootstrap`."""


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


def bootstrap(voters: frozenset[NodeId], data: bytes = b"") -> Persisted:
    """Return what each of a new group's first voters stores before it starts for the first time.

    `data` is what the application's state begins with. All of them must be given the same voters
    and data, and nobody else may be given any: nodes that join later start from `Persisted()`.

    The founding stands for entry 1, of term 1, in which nobody is ever elected. So no log that was
    founded matches an empty one, and whoever joins is sent the founding, or what came of it.
    """
    configuration = Configuration(voters=voters)
    return Persisted(
        hard_state=HardState(term=1),
        snapshot=Snapshot(index=1, term=1, configuration=configuration, data=data),
    )
