"""The supervisor and a position that is lost: it stays down, or gives the position up."""

from __future__ import annotations

import trio
from tests.fakes.virtual_time import virtual_time
from tests.stage.process import Process, World

from mnc.errors import PositionLostError
from mnc.model import Position
from mnc.publish.ports import Batch
from mnc.telemetry.lane import LaneTelemetry, Stopped


@virtual_time
async def test_a_lost_position_stays_down() -> None:
    """A collection whose position is lost waits for a person, and says so; nothing is skipped."""
    world = World()
    process = Process(world, "users")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(process.run)
        await trio.sleep(1)
        process.stop()
    world.source.write("users")
    world.source.forget()
    world.source.write("users")
    process = Process(world, "users")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(process.run)
        await trio.sleep(3600)
        state = process.lanes["users"].state
        assert isinstance(state, Stopped)
        assert isinstance(state.error, PositionLostError)
        assert len(process.workshop.readers) == 1
        assert world.stored("users") == []
        process.stop()


@virtual_time
async def test_a_lost_position_that_may_be_given_up_is_behind_a_lane_soon() -> None:
    """With permission the lane goes on from now, once, and stores all that is written then.

    The others that share its change stream lose nothing.
    """
    world = World()
    process = Process(world, "users", "movies")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(process.run)
        await trio.sleep(1)
        process.stop()
    world.source.write("users")
    world.source.forget()
    marker = world.marker("movies")
    assert marker is not None
    await world.stream.publish(
        Batch(
            events=(),
            marker_subject="cs_position.movies",
            position=Position(token=await world.source.current_token()),
            expected_seq=marker.stream_seq,
        )
    )
    world.source.write("movies")
    process = Process(world, "users", "movies", lost_history="now")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(process.run)
        await trio.sleep(5)
        assert process.is_ready
        written = world.source.write("users")
        await trio.sleep(1)
        assert world.stored("users") == [written]
        assert world.stored("movies") == world.source.tokens("movies")
        process.stop()
    assert [_renewals(process.lanes[name]) for name in ("users", "movies")] == [1, 0]


def _renewals(lane: LaneTelemetry) -> float:
    renewals: float = lane._renewed._value.get()
    return renewals
