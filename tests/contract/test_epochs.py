"""What epochs promise, on either stream: who was appointed later has the collection."""

from __future__ import annotations

import random

import pytest
import trio
from tests.contract.streams import JetStreamHarness, StreamHarness
from tests.fakes.checkpoints import FakeCheckpointStore
from tests.fakes.observer import RecordingObserver
from tests.fakes.payloads import STOPPING
from tests.fakes.source import FakeSource
from tests.fakes.values import NAMESPACE, checkpoint, event, token

from mnc.acquire import acquire
from mnc.checkpoint.position import LostHistory
from mnc.errors import FenceLostError, NotOwnerError
from mnc.model import Checkpoint, EncodedEvent, Epoch, StreamSeq
from mnc.publish.publisher import Publisher

pytestmark = pytest.mark.usefixtures("deadline")


class _Collection:
    """One collection, its stream, and owners of it."""

    def __init__(self, harness: StreamHarness) -> None:
        self.harness = harness
        self.marker_subject = f"{harness.name}_position.users"
        self.store = FakeCheckpointStore()
        self.source = FakeSource()

    async def acquire(self, epoch: int, *, lost_history: LostHistory = "stop") -> Checkpoint:
        """Acquire the collection for an owner with `epoch`."""
        return await acquire(
            NAMESPACE,
            marker_subject=self.marker_subject,
            source=self.source,
            stream=self.harness.port,
            store=self.store,
            epoch=Epoch(epoch),
            snapshot_first=False,
            snapshot_now=False,
            lost_history=lost_history,
            observer=RecordingObserver(),
        )

    async def owner(self, epoch: int) -> Publisher:
        """Return the publisher of an owner with `epoch` that has acquired the collection."""
        return Publisher(
            stream=self.harness.port,
            remedies=STOPPING,
            marker_subject=self.marker_subject,
            reached=await self.acquire(epoch),
            epoch=Epoch(epoch),
            in_flight=trio.CapacityLimiter(1),
            observer=RecordingObserver(),
            rng=random.Random(1),
        )

    def event(self, number: int) -> EncodedEvent:
        """Return event `number`, committed after the first watch."""
        payload = f'{{"_id":{{"_data":"{token(1000 + number).data}"}}}}'.encode()
        return event(1000 + number, payload=payload, stream=self.harness.name)

    async def stored(self) -> int:
        """Return how many events the stream holds."""
        return sum(stored.message_id is not None for stored in await self.harness.stored())


@pytest.fixture
async def collection(harness: StreamHarness) -> _Collection:
    """Give a collection that nobody has watched, and a stream that is ready."""
    await harness.port.ensure()
    return _Collection(harness)


async def test_a_new_owner_fences_the_old_one_out_before_any_event(collection: _Collection) -> None:
    """The marker has the new epoch and the old position as soon as the collection is acquired."""
    old = await collection.owner(1)
    await old.publish([collection.event(1)])
    new = await collection.owner(2)
    assert new.reached.position.epoch == 2
    assert new.reached.position.token == old.reached.position.token
    assert await collection.harness.port.read_marker(collection.marker_subject) == new.reached
    with pytest.raises(FenceLostError):
        await old.publish([collection.event(2)])
    assert await collection.stored() == 1


async def test_an_old_owner_does_not_take_the_new_ones_batch_for_its_own(
    collection: _Collection,
) -> None:
    """Both read the same events: that they are stored says nothing of who stored them."""
    old = await collection.owner(1)
    new = await collection.owner(2)
    await new.publish([collection.event(1)])
    with pytest.raises(FenceLostError):
        await old.publish([collection.event(1), collection.event(2)])
    assert await collection.stored() == 1


async def test_an_old_owner_does_not_come_back(collection: _Collection) -> None:
    """However often it acquires again, it learns who was appointed, and stores nothing."""
    await collection.owner(1)
    new = await collection.owner(2)
    for _ in range(3):
        with pytest.raises(NotOwnerError) as caught:
            await collection.owner(1)
        assert caught.value.found_epoch == 2
    await new.publish([collection.event(1)])
    assert await collection.stored() == 1


async def test_an_owner_that_starts_again_stores_no_marker(collection: _Collection) -> None:
    """A restart with the same epoch costs the stream nothing."""
    first = await collection.acquire(3)
    assert await collection.acquire(3) == first
    assert len(await collection.harness.stored()) == 1


@pytest.mark.parametrize(("before", "after"), [(5, 0), (0, 1), (0, 5)])
async def test_a_single_instance_and_a_cluster_take_over_from_each_other(
    collection: _Collection, before: int, after: int
) -> None:
    """Epoch 0 is never refused, and refuses nobody, also a cluster that counts from 1 again."""
    old = await collection.owner(before)
    await old.publish([collection.event(1)])
    new = await collection.owner(after)
    assert new.reached.position.epoch == after
    with pytest.raises(FenceLostError):
        await old.publish([collection.event(2)])
    await new.publish([collection.event(2)])
    assert await collection.stored() == 2


async def test_idle_progress_goes_over_to_the_new_owner(collection: _Collection) -> None:
    """A quiet collection's position doesn't fall back to its last event, which may be too old."""
    first = await collection.acquire(1)
    moved = checkpoint(2000, stream_seq=first.stream_seq, epoch=1)
    await collection.store.save(NAMESPACE, moved)
    acquired = await collection.acquire(2)
    assert acquired.position.token == moved.position.token
    collection.store.drop()
    assert await collection.acquire(2) == acquired


async def test_a_position_is_given_up_without_batches_too(unbatched: JetStreamHarness) -> None:
    """Without markers it is the token document that moves on, for the last event's sequence."""
    collection = _Collection(unbatched)
    owner = await collection.owner(0)
    await owner.publish([collection.event(1)])
    collection.source.tick(seconds=1_700_009_000 - collection.source.now.seconds)
    collection.source.forget()
    renewed = await collection.acquire(0, lost_history="now")
    assert renewed.position.token > owner.reached.position.token
    assert renewed.stream_seq == owner.reached.stream_seq
    assert await collection.acquire(0) == renewed


async def test_a_later_owners_document_counts_when_the_stream_is_new(
    collection: _Collection,
) -> None:
    """Where the marker is gone, the token document says who was appointed."""
    await collection.store.save(NAMESPACE, checkpoint(7, stream_seq=StreamSeq(70), epoch=4))
    with pytest.raises(NotOwnerError):
        await collection.acquire(3)
    assert await collection.harness.stored() == []
    assert (await collection.acquire(4)).position == checkpoint(7, stream_seq=0, epoch=4).position
