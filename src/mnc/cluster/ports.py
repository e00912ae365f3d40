"""What the cluster needs of a disk, a network and a place to found a group in.

`mnc.drivers` provides them; the contract tests say what each has to keep.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import trio

from mnc.cluster.formation import Founding
from mnc.cluster.messages import ClusterMessage, GroupId
from mnc.raft import NodeId, Persisted, Ready, Snapshot

__all__ = [
    "Arrival",
    "FoundingRegister",
    "Heard",
    "InThread",
    "Storage",
    "Transport",
    "Unreachable",
]


InThread = Callable[[Callable[[], None]], Awaitable[None]]
"""Run a blocking method of Storage, one at a time, while other tasks go on."""


class Storage(Protocol):
    """A member's disk. Every method blocks until what it stores is safe from a power cut.

    Invariants: one process at a time has it open. After an error nothing more is stored, because
    what is on the disk is not known then; a new process finds out.
    """

    @property
    def node(self) -> NodeId:
        """The disk's identity: made when it was empty, and lost with it."""
        ...

    @property
    def group(self) -> GroupId | None:
        """The group whose state is stored; None while there is none."""
        ...

    def load(self) -> Persisted:
        """Return what is stored of the group. Raises ClusterError when it can't be trusted."""
        ...

    def enter(self, group: GroupId, persisted: Persisted) -> None:
        """Begin with `persisted` in `group`, and forget any earlier group.

        Raises ClusterError, as `save` and `compact`.
        """
        ...

    def save(self, ready: Ready) -> None:
        """Store the hard state, the snapshot and the entries of `ready`, all or nothing."""
        ...

    def compact(self, snapshot: Snapshot) -> None:
        """Store a snapshot of the node's own, and forget the entries up to it; all or nothing."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Heard:
    """A message from another instance of this cluster."""

    message: ClusterMessage
    group: GroupId | None
    """What the sender was in when it sent this."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Unreachable:
    """The broker says that nobody is connected under this node's name: its process is gone.

    Or the broker has just come back, and the node has not yet.
    """

    node: NodeId


Arrival = Heard | Unreachable


class Transport(Protocol):
    """Messages to and from the other instances of one cluster."""

    @property
    def arrivals(self) -> trio.MemoryReceiveChannel[Arrival]:
        """What comes in, in order for each sender, Hello aside; what doesn't fit is dropped."""
        ...

    async def send(self, messages: Sequence[ClusterMessage], *, group: GroupId | None) -> None:
        """Send what can be sent now, and drop the rest. Raises nothing: see ClusterMessage.

        Hello goes to everybody. Whoever a message can't reach at once is reported as Unreachable.

        Cancellation: some messages may have been sent.
        """
        ...


class FoundingRegister(Protocol):
    """One place for all instances, in which a group is founded once."""

    async def read(self) -> Founding | None:
        """Return the newest founding, or None: never an older one than anybody has been given.

        Whoever went back to an older group could vote twice in it. Raises CheckpointError.
        """
        ...

    async def found(self, founding: Founding) -> Founding:
        """Store `founding` unless one of its generation or a later one is there.

        Returns what is stored then.

        Raises CheckpointError: it may be stored or not.

        Cancellation: the same.
        """
        ...
