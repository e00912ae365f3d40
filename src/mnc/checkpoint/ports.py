"""What checkpoints need of a store; `mnc.drivers.mongo` provides it."""

from __future__ import annotations

from typing import Protocol

from mnc.model import Checkpoint, Namespace

__all__ = ["CheckpointStore"]


class CheckpointStore(Protocol):
    """Durable checkpoints of one stream, one for each collection."""

    async def load(self, namespace: Namespace) -> Checkpoint | None:
        """Return the checkpoint of a collection, or None. Raises CheckpointError."""
        ...

    async def create(self, namespace: Namespace, checkpoint: Checkpoint) -> Checkpoint:
        """Store the first checkpoint of a collection, and return it.

        When there is one already, that one stays and is returned: of several instances that watch a
        collection for the first time, all begin at the same position. Raises CheckpointError.
        """
        ...

    async def save(self, namespace: Namespace, checkpoint: Checkpoint) -> None:
        """Store a checkpoint unless a later one is stored already. Raises CheckpointError.

        It is durable on a majority of the replica set on return.

        Cancellation: the write may still happen, which does no harm: it only moves forward.
        """
        ...
