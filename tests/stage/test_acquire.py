"""A lane: where it begins, and its way from the route to the checkpoint."""

from __future__ import annotations

import pytest
import trio
from tests.fakes.checkpoints import Unacknowledged, WriteFault
from tests.fakes.faults import Script
from tests.fakes.stream import LOST_ACK, PublishFault
from tests.fakes.values import NAMESPACE, checkpoint, events
from tests.fakes.virtual_time import virtual_time
from tests.stage.lane_world import MARKER, LaneWorld, make_world

from mnc.errors import (
    CheckpointUnavailableError,
    FenceLostError,
    ForeignPositionError,
    MncError,
    OutcomeUnknownError,
    SinkUnavailableError,
    SourceUnavailableError,
    StreamMissingError,
)
from mnc.model import Checkpoint, ClusterTime, Position
from mnc.publish.ports import Batch

_IDLE_PROGRESS_S = 10.0
_AWAY = CheckpointUnavailableError("no primary")


# --- acquiring -----------------------------------------------------------------------------------


@virtual_time
async def test_a_first_watch_is_durable_before_anything_is_read() -> None:
    """A collection that was never watched gets its position stored, and keeps it.

    So a crash before the first event doesn't skip what is committed meanwhile.
    """
    world = await make_world()
    world.source.write("users")
    first = await world.acquire(epoch=3)
    assert world.store.checkpoints[NAMESPACE].position == first.position
    assert world.stream.marker(MARKER) == first
    assert first.position.epoch == 3
    assert world.source.streams == []
    assert world.source.write("users") > first.position.token > world.source.tokens("users")[0]
    assert await world.acquire(epoch=3) == first


@virtual_time
async def test_a_first_watch_that_another_began_is_shared() -> None:
    """Of instances that begin at once, all begin at the earliest one's position."""
    world = await make_world()
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
    world = await make_world()
    await world.store.save(NAMESPACE, checkpoint(1, stream_seq=0))
    seq = await world.publish(1, 2, 3, fence=0)
    assert await world.acquire() == checkpoint(3, stream_seq=seq)


@virtual_time
async def test_a_lane_resumes_at_its_idle_progress() -> None:
    """A document that was written for the very marker and is further on counts."""
    world = await make_world()
    seq = await world.publish(1, 2, 3, fence=0)
    await world.store.save(NAMESPACE, checkpoint(9, stream_seq=seq))
    assert await world.acquire() == checkpoint(9, stream_seq=seq)


@virtual_time
async def test_a_lane_resumes_at_the_document_when_the_stream_is_new() -> None:
    """Without a marker the document says the position, and the stream gets a marker of it."""
    world = await make_world()
    await world.store.save(NAMESPACE, checkpoint(9, stream_seq=70))
    acquired = await world.acquire()
    assert acquired == world.stream.marker(MARKER)
    assert acquired.position == checkpoint(9, stream_seq=70).position


@virtual_time
async def test_a_lost_document_leaves_the_first_position_in_the_stream() -> None:
    """Whoever drops the database takes the token documents along, and nothing is skipped."""
    world = await make_world()
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
        world = await make_world()
        seq = await world.publish(1, 2, fence=0)
        async with trio.open_nursery() as nursery:
            acquired: list[Checkpoint] = []

            async def acquire_into(world: LaneWorld, acquired: list[Checkpoint]) -> None:
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
    world = await make_world()
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
    world = await make_world()
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
    world = await make_world(write_faults=(fault,))
    with pytest.raises(CheckpointUnavailableError):
        await world.acquire()
    stored = world.store.checkpoints.get(NAMESPACE)
    world.source.write("users")
    assert stored is None or (await world.acquire()).position == stored.position


@pytest.mark.parametrize("at_s", [0.0, 0.0005, 0.0015, 0.0025, 0.0035])
@virtual_time
async def test_a_cancelled_acquisition_can_be_repeated(at_s: float) -> None:
    """Cancelled at any step, a first watch is stored or not, and the next one goes by it."""
    world = await make_world()
    with trio.move_on_after(at_s):
        await world.acquire()
    stored = world.store.checkpoints.get(NAMESPACE)
    world.source.write("users")
    acquired = await world.acquire()
    assert stored is None or acquired.position == stored.position


# --- lost positions ------------------------------------------------------------------------------


async def _forgotten(*, epoch: int = 0) -> tuple[LaneWorld, Checkpoint]:
    """Return a world whose oplog no longer reaches back to the collection's position."""
    world = await make_world()
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
    acquired = await world.acquire(epoch=epoch, lost_history="now")
    assert acquired == world.stream.marker(MARKER)
    assert acquired == world.store.checkpoints[NAMESPACE]
    assert acquired.stream_seq > lost.stream_seq
    assert acquired.position.epoch == epoch
    assert acquired.position.token > world.source.tokens("users")[-1]
    assert world.observer.renewals == [(lost.position, acquired.position)]
    assert await world.acquire(epoch=epoch, lost_history="now") == acquired
    rival = world.lane(lost)
    await rival.route.deliver(events(1, 2))
    with pytest.raises(FenceLostError):
        await rival.run()


@virtual_time
async def test_what_is_given_up_is_told_whatever_becomes_of_it() -> None:
    """An acquisition that never hears of its success isn't silent: the next one has no reason."""
    world, lost = await _forgotten()
    world.stream.publish_faults = Script[PublishFault](LOST_ACK)
    with pytest.raises(OutcomeUnknownError):
        await world.acquire(lost_history="now")
    found = world.stream.marker(MARKER)
    assert found is not None
    assert world.observer.renewals == [(lost.position, found.position)]
    assert (await world.acquire(lost_history="now")).position == found.position
    assert len(world.observer.renewals) == 1


@virtual_time
async def test_a_position_that_another_writer_moved_on_is_not_given_up() -> None:
    """What counts is where the collection stands now, not what the last lane met."""
    world, lost = await _forgotten()
    moved = Position(token=await world.source.current_token())
    world.source.write("users")
    await world.stream.publish(
        Batch(
            events=(),
            marker_subject=MARKER,
            position=moved,
            expected_seq=lost.stream_seq,
        )
    )
    assert (await world.acquire(lost_history="now")).position == moved
    assert world.observer.renewals == []


@virtual_time
async def test_a_position_of_another_cluster_is_not_given_up() -> None:
    """A position that lies in the future is an error whatever the settings say."""
    world, lost = await _forgotten()
    world.source.now = ClusterTime(lost.position.token.cluster_time.seconds - 3600, 1)
    with pytest.raises(ForeignPositionError):
        await world.acquire(lost_history="now")
    assert world.stream.marker(MARKER) == lost


@virtual_time
async def test_an_outage_gives_up_no_position() -> None:
    """Only the oplog's own word counts: a source that is away says nothing of a position."""
    world, lost = await _forgotten()
    world.source.open_faults = Script(SourceUnavailableError("away"))
    with pytest.raises(SourceUnavailableError):
        await world.acquire(lost_history="now")
    assert world.stream.marker(MARKER) == lost
