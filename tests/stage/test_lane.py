"""A lane: where it begins, and its way from the route to the checkpoint."""

from __future__ import annotations

import random

import pytest
import trio
from tests.fakes.checkpoints import FakeCheckpointStore, Unacknowledged, WriteFault
from tests.fakes.faults import Script
from tests.fakes.observer import RecordingObserver
from tests.fakes.payloads import STOPPING
from tests.fakes.source import FakeSource
from tests.fakes.stream import LOST_ACK, FakeStream, PublishFault
from tests.fakes.values import NAMESPACE, checkpoint, events, token
from tests.fakes.virtual_time import virtual_time

from mnc.capture.budget import ByteBudget
from mnc.capture.route import Route
from mnc.checkpoint.keeper import CheckpointKeeper
from mnc.errors import (
    CheckpointUnavailableError,
    FenceLostError,
    ForeignPositionError,
    MncError,
    SinkUnavailableError,
    SourceUnavailableError,
    StreamFullError,
    StreamMissingError,
)
from mnc.lane import Lane, acquire
from mnc.model import Checkpoint, ClusterTime, Epoch, Position, StreamSeq
from mnc.publish.ports import Batch
from mnc.publish.publisher import Publisher

_MARKER = "cs_position.users"
_INTERVAL_S = 1.0
_IDLE_PROGRESS_S = 10.0
_AWAY = CheckpointUnavailableError("no primary")
_ZERO = checkpoint(0, stream_seq=0)


class _World:
    """The fakes around one lane."""

    def __init__(self) -> None:
        self.source = FakeSource()
        self.stream = FakeStream()
        self.store = FakeCheckpointStore()
        self.budget = ByteBudget(10**9)
        self.observer = RecordingObserver()

    async def acquire(self, *, epoch: int = 0, renew_if_lost: bool = False) -> Checkpoint:
        """Acquire the collection."""
        return await acquire(
            NAMESPACE,
            marker_subject=_MARKER,
            source=self.source,
            stream=self.stream,
            store=self.store,
            epoch=Epoch(epoch),
            renew_if_lost=renew_if_lost,
            observer=self.observer,
        )

    async def publish(self, *numbers: int, fence: int) -> StreamSeq:
        """Publish as an earlier writer, or a rival, did."""
        batch = events(numbers[0], numbers[-1])
        return await self.stream.publish(
            Batch(
                events=batch,
                marker_subject=_MARKER,
                position=Position(token=batch[-1].token),
                expected_seq=StreamSeq(fence),
            )
        )

    def lane(self, reached: Checkpoint = _ZERO) -> Lane:
        """Build a lane."""
        return Lane(
            route=Route(
                collection="users",
                frontier=reached.position.token,
                account=self.budget.open_account(),
            ),
            publisher=Publisher(
                stream=self.stream,
                remedies=STOPPING,
                marker_subject=_MARKER,
                reached=reached,
                epoch=Epoch(0),
                in_flight=trio.CapacityLimiter(1),
                observer=self.observer,
                rng=random.Random(1),
            ),
            keeper=CheckpointKeeper(
                store=self.store,
                namespace=NAMESPACE,
                interval_s=_INTERVAL_S,
                observer=self.observer,
                rng=random.Random(1),
            ),
            observer=self.observer,
        )


async def _world(*, write_faults: tuple[WriteFault | None, ...] = ()) -> _World:
    world = _World()
    await world.stream.ensure()
    world.store.write_faults = Script[WriteFault](*write_faults)
    return world


# --- acquiring -----------------------------------------------------------------------------------


@virtual_time
async def test_a_first_watch_is_durable_before_anything_is_read() -> None:
    """A collection that was never watched gets its position stored, and keeps it.

    So a crash before the first event doesn't skip what is committed meanwhile.
    """
    world = await _world()
    world.source.write("users")
    first = await world.acquire(epoch=3)
    assert world.store.checkpoints[NAMESPACE].position == first.position
    assert world.stream.marker(_MARKER) == first
    assert first.position.epoch == 3
    assert world.source.streams == []
    assert world.source.write("users") > first.position.token > world.source.tokens("users")[0]
    assert await world.acquire(epoch=3) == first


@virtual_time
async def test_a_first_watch_that_another_began_is_shared() -> None:
    """Of instances that begin at once, all begin at the earliest one's position."""
    world = await _world()
    results: list[Checkpoint] = []

    async def acquire_into() -> None:
        try:
            results.append(await world.acquire())
        except FenceLostError:  # another one put the first marker there: the lane starts again
            results.append(await world.acquire())

    async with trio.open_nursery() as nursery:
        for _ in range(3):
            nursery.start_soon(acquire_into)
            await trio.sleep(0.001)
            world.source.write("users")
    assert len(set(results)) == 1


@virtual_time
async def test_a_lane_resumes_at_the_marker() -> None:
    """Where events were published, the marker says the position and the fence."""
    world = await _world()
    await world.store.save(NAMESPACE, checkpoint(1, stream_seq=0))
    seq = await world.publish(1, 2, 3, fence=0)
    assert await world.acquire() == checkpoint(3, stream_seq=seq)


@virtual_time
async def test_a_lane_resumes_at_its_idle_progress() -> None:
    """A document that was written for the very marker and is further on counts."""
    world = await _world()
    seq = await world.publish(1, 2, 3, fence=0)
    await world.store.save(NAMESPACE, checkpoint(9, stream_seq=seq))
    assert await world.acquire() == checkpoint(9, stream_seq=seq)


@virtual_time
async def test_a_lane_resumes_at_the_document_when_the_stream_is_new() -> None:
    """Without a marker the document says the position, and the stream gets a marker of it."""
    world = await _world()
    await world.store.save(NAMESPACE, checkpoint(9, stream_seq=70))
    acquired = await world.acquire()
    assert acquired == world.stream.marker(_MARKER)
    assert acquired.position == checkpoint(9, stream_seq=70).position


@virtual_time
async def test_a_lost_document_leaves_the_first_position_in_the_stream() -> None:
    """Whoever drops the database takes the token documents along, and nothing is skipped."""
    world = await _world()
    first = await world.acquire()
    world.store.drop()
    world.source.write("users")
    assert await world.acquire() == first


@virtual_time
async def test_a_rival_between_the_two_readings_is_noticed() -> None:
    """Another writer that publishes while a lane acquires can't be overtaken nor repeated.

    Either its marker was seen, or the lane's first batch loses its fence.
    """
    for step in range(5):
        world = await _world()
        seq = await world.publish(1, 2, fence=0)
        async with trio.open_nursery() as nursery:
            acquired: list[Checkpoint] = []

            async def acquire_into(world: _World, acquired: list[Checkpoint]) -> None:
                acquired.append(await world.acquire())

            nursery.start_soon(acquire_into, world, acquired)
            await trio.sleep(step * 0.0005)
            rival = await world.publish(3, 4, fence=seq)
            await world.store.save(NAMESPACE, checkpoint(4, stream_seq=rival))
        lane = world.lane(*acquired)
        await lane.route.deliver(
            [it for it in events(1, 6) if it.token > acquired[0].position.token]
        )
        lane.route.end()
        try:
            await lane.run()
        except FenceLostError:
            assert world.stream.events == events(1, 4)
        else:
            assert world.stream.events == events(1, 6)


@virtual_time
async def test_a_new_owner_gets_between_the_batches_of_an_earlier_one() -> None:
    """An earlier owner that goes on fast is fenced out at once; only one that never rests wins."""
    world = await _world()
    seq = await world.publish(1, 2, fence=0)
    moved = FenceLostError("wrong last sequence")
    world.stream.publish_faults = Script[PublishFault](*[moved] * 10)
    acquired = await world.acquire(epoch=3)
    assert acquired.position.epoch == 3
    assert acquired.stream_seq > seq
    world.stream.publish_faults = Script[PublishFault](*[moved] * 100)
    with pytest.raises(FenceLostError):
        await world.acquire(epoch=4)


@pytest.mark.parametrize(
    "failure",
    [
        SinkUnavailableError("no leader"),
        StreamMissingError("deleted"),
        _AWAY,
        SourceUnavailableError("away"),
    ],
    ids=lambda error: error.kind,
)
@virtual_time
async def test_a_lane_that_cannot_know_its_position_does_not_begin(failure: MncError) -> None:
    """Whichever reading fails, nothing is guessed and nothing written."""
    world = await _world()
    match failure:
        case CheckpointUnavailableError():
            world.store.load_faults = Script(failure)
        case SourceUnavailableError():
            world.source.open_faults = Script(failure)
        case SinkUnavailableError() | StreamMissingError():
            world.stream.read_faults = Script(failure)
        case _:
            raise AssertionError
    with pytest.raises(type(failure)):
        await world.acquire()
    assert world.store.writes == []


@pytest.mark.parametrize("fault", [_AWAY, Unacknowledged(_AWAY)], ids=["not done", "done"])
@virtual_time
async def test_a_first_position_that_is_not_durable_is_not_used(fault: WriteFault) -> None:
    """A first checkpoint whose write fails is an error; the next try agrees with what is stored."""
    world = await _world(write_faults=(fault,))
    with pytest.raises(CheckpointUnavailableError):
        await world.acquire()
    stored = world.store.checkpoints.get(NAMESPACE)
    world.source.write("users")
    assert stored is None or (await world.acquire()).position == stored.position


@pytest.mark.parametrize("at_s", [0.0, 0.0005, 0.0015, 0.0025, 0.0035])
@virtual_time
async def test_a_cancelled_acquisition_can_be_repeated(at_s: float) -> None:
    """Cancelled at any step, a first watch is stored or not, and the next one goes by it."""
    world = await _world()
    with trio.move_on_after(at_s):
        await world.acquire()
    stored = world.store.checkpoints.get(NAMESPACE)
    world.source.write("users")
    acquired = await world.acquire()
    assert stored is None or acquired.position == stored.position


# --- lost positions ------------------------------------------------------------------------------


async def _forgotten(*, epoch: int = 0) -> tuple[_World, Checkpoint]:
    """Return a world whose oplog no longer reaches back to the collection's position."""
    world = await _world()
    reached = await world.acquire(epoch=epoch)
    world.source.write("users")
    world.source.forget()
    return world, reached


@virtual_time
async def test_a_lost_position_is_kept_unless_it_may_be_given_up() -> None:
    """Without permission nothing is skipped: the change stream says what is wrong."""
    world, reached = await _forgotten()
    assert await world.acquire() == reached
    assert world.observer.renewals == []


@pytest.mark.parametrize("epoch", [0, 3])
@virtual_time
async def test_a_lost_position_is_replaced_behind_its_fence(epoch: int) -> None:
    """The new position stands in the stream and in MongoDB, and is told; it can be read from."""
    world, lost = await _forgotten(epoch=epoch)
    acquired = await world.acquire(epoch=epoch, renew_if_lost=True)
    assert acquired == world.stream.marker(_MARKER)
    assert acquired == world.store.checkpoints[NAMESPACE]
    assert acquired.stream_seq > lost.stream_seq
    assert acquired.position.epoch == epoch
    assert acquired.position.token > world.source.tokens("users")[-1]
    assert world.observer.renewals == [(lost.position, acquired.position)]
    assert await world.acquire(epoch=epoch, renew_if_lost=True) == acquired
    rival = world.lane(lost)
    await rival.route.deliver(events(1, 2))
    with pytest.raises(FenceLostError):
        await rival.run()


@virtual_time
async def test_a_position_that_another_writer_moved_on_is_not_given_up() -> None:
    """What counts is where the collection stands now, not what the last lane met."""
    world, lost = await _forgotten()
    moved = Position(token=await world.source.current_token())
    world.source.write("users")
    await world.stream.publish(
        Batch(
            events=(),
            marker_subject=_MARKER,
            position=moved,
            expected_seq=lost.stream_seq,
        )
    )
    assert (await world.acquire(renew_if_lost=True)).position == moved
    assert world.observer.renewals == []


@virtual_time
async def test_a_position_of_another_cluster_is_not_given_up() -> None:
    """A position that lies in the future is an error whatever the settings say."""
    world, lost = await _forgotten()
    world.source.now = ClusterTime(lost.position.token.cluster_time.seconds - 3600, 1)
    with pytest.raises(ForeignPositionError):
        await world.acquire(renew_if_lost=True)
    assert world.stream.marker(_MARKER) == lost


@virtual_time
async def test_an_outage_gives_up_no_position() -> None:
    """Only the oplog's own word counts: a source that is away says nothing of a position."""
    world, lost = await _forgotten()
    world.source.open_faults = Script(SourceUnavailableError("away"))
    with pytest.raises(SourceUnavailableError):
        await world.acquire(renew_if_lost=True)
    assert world.stream.marker(_MARKER) == lost


# --- running -------------------------------------------------------------------------------------


@virtual_time
async def test_a_lane_drains_when_its_route_ends() -> None:
    """What was delivered is published and checkpointed before `run` returns, without waiting."""
    world = await _world()
    lane = world.lane()
    await lane.route.deliver(events(1, 2000))
    lane.route.end()
    began_at = trio.current_time()
    await lane.run()
    assert trio.current_time() - began_at < _INTERVAL_S
    assert world.stream.events == events(1, 2000)
    assert world.store.checkpoints[NAMESPACE] == world.stream.marker(_MARKER)
    assert world.budget.statistics().used_bytes == 0


@virtual_time
async def test_a_lane_drains_before_it_raises_its_routes_error() -> None:
    """A reader's failure ends a lane after what was captured is stored."""
    world = await _world()
    lane = world.lane()
    await lane.route.deliver(events(1, 3))
    lane.route.end(SourceUnavailableError("away"))
    with pytest.raises(SourceUnavailableError):
        await lane.run()
    assert world.stream.events == events(1, 3)
    assert world.store.checkpoints[NAMESPACE] == world.stream.marker(_MARKER)


@virtual_time
async def test_bytes_are_freed_by_the_acknowledgement() -> None:
    """As long as a batch isn't confirmed, its bytes count."""
    world = await _world()
    lane = world.lane()
    world.stream.disconnect()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(lane.run)
        await lane.route.deliver(events(1, 3))
        await trio.sleep(60)
        assert world.budget.statistics().used_bytes == sum(it.size_bytes for it in events(1, 3))
        assert world.store.checkpoints == {NAMESPACE: _ZERO}
        world.stream.connect()
        await trio.sleep(1)
        assert world.budget.statistics().used_bytes == 0
        lane.route.end()


@virtual_time
async def test_a_batch_collects_while_another_is_in_flight() -> None:
    """What comes during a publish goes as one batch after it."""
    world = await _world()
    world.stream.publish_faults = Script[PublishFault](LOST_ACK)  # which takes a second
    lane = world.lane()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(lane.run)
        for number in range(1, 11):
            await lane.route.deliver(events(number, number))
            await trio.sleep(0.05)
        await trio.sleep(5)
        lane.route.end()
    assert [len(batch.events) for batch in world.stream.batches] == [1, 9]


@virtual_time
async def test_a_lane_that_fails_checkpoints_what_is_stored() -> None:
    """The position before the failure is written, and the failure raised."""
    world = await _world()
    lane = world.lane()
    await lane.route.deliver(events(1, 1000))
    world.stream.publish_faults = Script(None, StreamFullError("full"))
    with pytest.raises(StreamFullError):
        await lane.run()
    assert len(world.stream.events) == 999
    assert world.store.checkpoints[NAMESPACE] == world.stream.marker(_MARKER)


@virtual_time
async def test_a_last_checkpoint_that_fails_is_no_failure() -> None:
    """A lane that drained ends well though its last checkpoint can't be written; it is heard."""
    world = await _world(write_faults=(_AWAY,) * 100)
    lane = world.lane()
    await lane.route.deliver(events(1, 3))
    lane.route.end()
    await lane.run()
    assert world.stream.events == events(1, 3)
    assert world.observer.checkpoint_failures


@virtual_time
async def test_a_last_checkpoint_that_takes_too_long_is_given_up() -> None:
    """A lane that failed is reported soon, though the store is frozen; the marker says as much."""
    world = await _world()
    world.store = FakeCheckpointStore(latency=lambda: 3600.0)
    lane = world.lane()
    await lane.route.deliver(events(1, 3))
    lane.route.end(SourceUnavailableError("away"))
    with trio.fail_after(5), pytest.raises(SourceUnavailableError):
        await lane.run()
    assert world.stream.events == events(1, 3)


@virtual_time
async def test_failing_checkpoints_hold_up_nothing() -> None:
    """While token documents can't be written, publishing goes on."""
    world = await _world(write_faults=(_AWAY,) * 1000)
    lane = world.lane()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(lane.run)
        for number in range(1, 101):
            await lane.route.deliver(events(number, number))
            await trio.sleep(1)
        assert world.stream.events == events(1, 100)
        lane.route.end()


@pytest.mark.parametrize("at_s", [0.0, 0.0003, 0.0005, 0.0007, 0.0012, 0.5])
@virtual_time
async def test_a_cancelled_lane_is_found_out_by_its_successor(at_s: float) -> None:
    """Cancelled at any step, a lane leaves a stream that the next one completes exactly."""
    world = await _world()
    committed = events(10, 3000)
    lane = world.lane(await world.acquire())
    await lane.route.deliver(committed)
    with trio.move_on_after(at_s):
        await lane.run()
    lane.route.close()
    assert world.budget.statistics().used_bytes == 0
    successor = world.lane(await world.acquire())
    await successor.route.deliver([it for it in committed if it.token > successor.route.frontier])
    successor.route.end()
    await successor.run()
    assert world.stream.events == committed


# --- idle progress -------------------------------------------------------------------------------


@virtual_time
async def test_a_quiet_collections_position_moves_on() -> None:
    """Without events the checkpoint follows the reader now and then, for the same marker."""
    world = await _world()
    lane = world.lane(checkpoint(3, stream_seq=7))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(lane.run)
        await trio.sleep(2)
        lane.route.reach(token(5))
        lane.route.reach(token(9))
        await trio.sleep(_IDLE_PROGRESS_S - 2)
        assert world.store.checkpoints[NAMESPACE] == checkpoint(3, stream_seq=7)
        await trio.sleep(2)
        assert world.store.checkpoints[NAMESPACE] == checkpoint(9, stream_seq=7)
        await trio.sleep(10 * _IDLE_PROGRESS_S)
        assert len(world.store.writes) == 2
        nursery.cancel_scope.cancel()


@virtual_time
async def test_a_position_does_not_move_past_what_is_not_stored() -> None:
    """As long as an event is on its way, the checkpoint stays behind it."""
    world = await _world()
    lane = world.lane()
    world.stream.disconnect()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(lane.run)
        await lane.route.deliver(events(1, 1))
        lane.route.reach(token(9))
        await trio.sleep(10 * _IDLE_PROGRESS_S)
        assert world.store.checkpoints == {NAMESPACE: _ZERO}
        world.stream.connect()
        await trio.sleep(2 * _IDLE_PROGRESS_S)
        marker = world.stream.marker(_MARKER)
        assert marker is not None
        assert world.store.checkpoints == {NAMESPACE: checkpoint(9, stream_seq=marker.stream_seq)}
        nursery.cancel_scope.cancel()


@virtual_time
async def test_publishing_goes_on_after_idle_progress() -> None:
    """An event after a quiet time is published behind the marker's fence, and checkpointed."""
    world = await _world()
    lane = world.lane()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(lane.run)
        await lane.route.deliver(events(1, 2))
        await trio.sleep(1)
        lane.route.reach(token(9))
        await trio.sleep(2 * _IDLE_PROGRESS_S)
        await lane.route.deliver(events(11, 12))
        await trio.sleep(2 * _IDLE_PROGRESS_S)
        lane.route.end()
    assert world.stream.events == [*events(1, 2), *events(11, 12)]
    assert world.store.checkpoints[NAMESPACE] == world.stream.marker(_MARKER)
