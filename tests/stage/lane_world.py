"""The fakes around one lane."""

from __future__ import annotations

import random

import trio
from tests.fakes.checkpoints import FakeCheckpointStore, WriteFault
from tests.fakes.documents import FakeDocuments
from tests.fakes.faults import Script
from tests.fakes.observer import RecordingObserver
from tests.fakes.payloads import STOPPING
from tests.fakes.source import FakeSource
from tests.fakes.stream import FakeStream
from tests.fakes.values import NAMESPACE, checkpoint, events

from mnc.acquire import acquire
from mnc.capture.budget import ByteBudget
from mnc.capture.copier import Copier
from mnc.capture.route import Route
from mnc.checkpoint.keeper import CheckpointKeeper
from mnc.checkpoint.position import LostHistory
from mnc.config import NO_PIPELINE
from mnc.encode.event import Encoder
from mnc.lane import Lane
from mnc.model import Checkpoint, Epoch, Position, StreamSeq
from mnc.publish.ports import Batch, StreamPort
from mnc.publish.publisher import Publisher

__all__ = ["INTERVAL_S", "MARKER", "LaneWorld", "make_world"]

MARKER = "cs_position.users"
INTERVAL_S = 1.0
_ZERO = checkpoint(0, stream_seq=0)


class LaneWorld:
    """The fakes around one lane."""

    def __init__(self, *, port: StreamPort | None = None, name: str = "cs") -> None:
        """Make one; `port` is another stream than the fake one, named `name`."""
        self.source = FakeSource()
        self.documents = FakeDocuments(self.source)
        self.stream = FakeStream()
        self._port = port or self.stream
        self._name = name
        self._marker = f"{name}_position.users"
        self.store = FakeCheckpointStore()
        self.budget = ByteBudget(10**9)
        self.observer = RecordingObserver()

    async def acquire(
        self,
        *,
        epoch: int = 0,
        snapshot_first: bool = False,
        snapshot_now: bool = False,
        lost_history: LostHistory = "stop",
    ) -> Checkpoint:
        """Acquire the collection."""
        acquired = await acquire(
            NAMESPACE,
            marker_subject=self._marker,
            source=self.source,
            stream=self._port,
            store=self.store,
            epoch=Epoch(epoch),
            snapshot_first=snapshot_first,
            snapshot_now=snapshot_now,
            lost_history=lost_history,
            observer=self.observer,
        )
        self.source.tick()  # by the token document, which is an entry in the oplog
        return acquired

    async def publish(self, *numbers: int, fence: int) -> StreamSeq:
        """Publish as an earlier writer, or a rival, did."""
        batch = events(numbers[0], numbers[-1])
        return await self.stream.publish(
            Batch(
                events=batch,
                marker_subject=MARKER,
                position=Position(token=batch[-1].token),
                expected_seq=StreamSeq(fence),
            )
        )

    def lane(
        self,
        reached: Checkpoint = _ZERO,
        *,
        documents_per_s: int = 0,
        pipeline: str = NO_PIPELINE,
    ) -> Lane:
        """Build a lane, with a copier where a snapshot isn't complete."""
        snapshot = reached.position.snapshot
        copier = (
            None
            if snapshot is None
            else Copier(
                namespace=NAMESPACE,
                snapshot=snapshot,
                documents=self.documents,
                source=self.source,
                encode=Encoder(stream=self._name),
                documents_per_s=documents_per_s,
                pipeline=pipeline,
                observer=self.observer,
            )
        )
        return Lane(
            copier=copier,
            route=Route(
                collection="users",
                frontier=reached.position.token,
                account=self.budget.open_account(),
            ),
            publisher=Publisher(
                stream=self._port,
                remedies=STOPPING,
                marker_subject=self._marker,
                reached=reached,
                epoch=Epoch(0),
                in_flight=trio.CapacityLimiter(1),
                observer=self.observer,
                rng=random.Random(1),
            ),
            keeper=CheckpointKeeper(
                store=self.store,
                namespace=NAMESPACE,
                interval_s=INTERVAL_S,
                observer=self.observer,
                rng=random.Random(1),
            ),
            observer=self.observer,
        )


async def make_world(*, write_faults: tuple[WriteFault | None, ...] = ()) -> LaneWorld:
    """Return a world whose stream is made ready."""
    world = LaneWorld()
    await world.stream.ensure()
    world.store.write_faults = Script[WriteFault](*write_faults)
    return world
