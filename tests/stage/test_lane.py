"""A lane: where it begins, and its way from the route to the checkpoint."""

from __future__ import annotations

import pytest
import trio
from tests.fakes.checkpoints import FakeCheckpointStore
from tests.fakes.faults import Script
from tests.fakes.stream import LOST_ACK, PublishFault
from tests.fakes.values import NAMESPACE, checkpoint, events, token
from tests.fakes.virtual_time import virtual_time
from tests.stage.lane_world import INTERVAL_S, MARKER, make_world

from mnc.errors import (
    CheckpointUnavailableError,
    SourceUnavailableError,
    StreamFullError,
)

_IDLE_PROGRESS_S = 10.0
_AWAY = CheckpointUnavailableError("no primary")


# --- running -------------------------------------------------------------------------------------


@virtual_time
async def test_a_lane_drains_when_its_route_ends() -> None:
    """What was delivered is published and checkpointed before `run` returns, without waiting."""
    world = await make_world()
    lane = world.lane()
    await lane.route.deliver(events(1, 2000))
    lane.route.end()
    began_at = trio.current_time()
    await lane.run()
    assert trio.current_time() - began_at < INTERVAL_S
    assert world.stream.events == events(1, 2000)
    assert world.store.checkpoints[NAMESPACE] == world.stream.marker(MARKER)
    assert world.budget.statistics().used_bytes == 0


@virtual_time
async def test_a_lane_drains_before_it_raises_its_routes_error() -> None:
    """A reader's failure ends a lane after what was captured is stored."""
    world = await make_world()
    lane = world.lane()
    await lane.route.deliver(events(1, 3))
    lane.route.end(SourceUnavailableError("away"))
    with pytest.raises(SourceUnavailableError):
        await lane.run()
    assert world.stream.events == events(1, 3)
    assert world.store.checkpoints[NAMESPACE] == world.stream.marker(MARKER)


@virtual_time
async def test_bytes_are_freed_by_the_acknowledgement() -> None:
    """As long as a batch isn't confirmed, its bytes count."""
    world = await make_world()
    lane = world.lane()
    world.stream.disconnect()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(lane.run)
        await lane.route.deliver(events(1, 3))
        await trio.sleep(60)
        assert world.budget.statistics().used_bytes == sum(it.size_bytes for it in events(1, 3))
        assert world.store.checkpoints == {NAMESPACE: checkpoint(0, stream_seq=0)}
        world.stream.connect()
        await trio.sleep(1)
        assert world.budget.statistics().used_bytes == 0
        lane.route.end()


@virtual_time
async def test_a_batch_collects_while_another_is_in_flight() -> None:
    """What comes during a publish goes as one batch after it."""
    world = await make_world()
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
    world = await make_world()
    lane = world.lane()
    await lane.route.deliver(events(1, 1000))
    world.stream.publish_faults = Script(None, StreamFullError("full"))
    with pytest.raises(StreamFullError):
        await lane.run()
    assert len(world.stream.events) == 999
    assert world.store.checkpoints[NAMESPACE] == world.stream.marker(MARKER)


@virtual_time
async def test_a_last_checkpoint_that_fails_is_no_failure() -> None:
    """A lane that drained ends well though its last checkpoint can't be written; it is heard."""
    world = await make_world(write_faults=(_AWAY,) * 100)
    lane = world.lane()
    await lane.route.deliver(events(1, 3))
    lane.route.end()
    await lane.run()
    assert world.stream.events == events(1, 3)
    assert world.observer.checkpoint_failures


@virtual_time
async def test_a_last_checkpoint_that_takes_too_long_is_given_up() -> None:
    """A lane that failed is reported soon, though the store is frozen; the marker says as much."""
    world = await make_world()
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
    world = await make_world(write_faults=(_AWAY,) * 1000)
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
    world = await make_world()
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
    world = await make_world()
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
    world = await make_world()
    lane = world.lane()
    world.stream.disconnect()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(lane.run)
        await lane.route.deliver(events(1, 1))
        lane.route.reach(token(9))
        await trio.sleep(10 * _IDLE_PROGRESS_S)
        assert world.store.checkpoints == {NAMESPACE: checkpoint(0, stream_seq=0)}
        world.stream.connect()
        await trio.sleep(2 * _IDLE_PROGRESS_S)
        marker = world.stream.marker(MARKER)
        assert marker is not None
        assert world.store.checkpoints == {NAMESPACE: checkpoint(9, stream_seq=marker.stream_seq)}
        nursery.cancel_scope.cancel()


@virtual_time
async def test_publishing_goes_on_after_idle_progress() -> None:
    """An event after a quiet time is published behind the marker's fence, and checkpointed."""
    world = await make_world()
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
    assert world.store.checkpoints[NAMESPACE] == world.stream.marker(MARKER)
