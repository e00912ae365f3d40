"""How the supervisor ends: told to, cancelled, or by an error that nobody expected."""

from __future__ import annotations

from typing import NoReturn

import pytest
import trio
from tests.fakes.faults import Script
from tests.fakes.stream import PublishFault
from tests.fakes.virtual_time import virtual_time
from tests.stage.process import Process, World

from mnc.errors import (
    SourceUnavailableError,
    StreamFullError,
)
from mnc.telemetry.lane import Stopped

_NAMES = ("users", "movies", "orders")
_AWAY = SourceUnavailableError("away")


# --- stopping ------------------------------------------------------------------------------------


@virtual_time
async def test_stopping_drains_what_was_captured() -> None:
    """Everything that was delivered is stored and checkpointed before `run` returns."""
    world = World()
    process = Process(world, *_NAMES)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(process.run)
        await trio.sleep(1)
        world.stream.disconnect()
        world.write(*_NAMES, count=20)
        await trio.sleep(5)
        process.stop()
        await trio.sleep(100)
        assert world.stored("users") == []
        world.stream.connect()
    assert world.is_exact(*_NAMES)
    for name in _NAMES:
        assert world.checkpoint(name) == world.marker(name)
        assert process.lanes[name].state == Stopped(error=None)
    assert process.workshop.budget.statistics().used_bytes == 0


@pytest.mark.parametrize("at_ms", range(30))
@virtual_time
async def test_stopping_while_lanes_are_built_ends_soon(at_ms: int) -> None:
    """Told to stop at any moment of a start, the supervisor ends without waiting for servers."""
    world = World()
    process = Process(world, *_NAMES)
    with trio.fail_after(5):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(process.run)
            await trio.sleep(at_ms * 0.0005)
            process.stop()
    assert all(stream.is_closed for stream in world.source.streams)


@virtual_time
async def test_stopping_at_the_first_step_ends_soon() -> None:
    """Told to stop as the first cohort begins, the supervisor starts nothing."""
    world = World()
    world.stream.disconnect()
    process = Process(world, *_NAMES)
    with trio.fail_after(5):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(process.run)
            await trio.lowlevel.checkpoint()
            process.stop()
    assert world.source.streams == []


@virtual_time
async def test_stopping_while_nats_is_away_ends_soon() -> None:
    """A start that waits for a server is given up."""
    world = World()
    world.stream.disconnect()
    process = Process(world, *_NAMES)
    with trio.fail_after(5 + 60):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(process.run)
            await trio.sleep(60)
            process.stop()


@virtual_time
async def test_stopping_while_lanes_wait_to_restart_ends_soon() -> None:
    """A lane that waits for its restart doesn't start again."""
    world = World()
    world.source.open_faults = lambda: _AWAY
    process = Process(world, *_NAMES)
    with trio.fail_after(5 + 600):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(process.run)
            await trio.sleep(600)
            process.stop()


@virtual_time
async def test_a_lane_that_fails_while_stopping_stays_down() -> None:
    """During the drain a failure is final: the next process goes on from the marker."""
    world = World()
    process = Process(world, "users")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(process.run)
        await trio.sleep(1)
        world.stream.disconnect()
        world.write("users")
        await trio.sleep(2)
        process.stop()
        await trio.sleep(2)
        world.stream.publish_faults = Script[PublishFault](StreamFullError("full"))
        world.stream.connect()
    state = process.lanes["users"].state
    assert isinstance(state, Stopped)
    assert isinstance(state.error, StreamFullError)


# --- what isn't handled --------------------------------------------------------------------------


@pytest.mark.parametrize("where", ["build", "read", "publish", "checkpoint"])
@virtual_time
async def test_programming_errors_pass(where: str) -> None:
    """An error that nobody raised on purpose ends the supervisor, with all that it runs."""
    world = World()
    process = Process(world, *_NAMES)
    async with trio.open_nursery() as nursery:  # so that all are watched
        nursery.start_soon(process.run)
        await trio.sleep(1)
        process.stop()

    def fail() -> NoReturn:
        raise ZeroDivisionError

    match where:
        case "build":
            world.store.load_faults = fail
        case "read":
            world.source.reply_faults = fail
        case "publish":
            world.stream.publish_faults = fail
        case _:
            world.store.write_faults = fail
    process = Process(world, *_NAMES)
    with pytest.raises(ExceptionGroup) as caught:  # noqa: PT012 - it is raised at its end
        async with trio.open_nursery() as nursery:
            nursery.start_soon(process.run)
            await trio.sleep(0.9)
            world.write("users")
            await trio.sleep(60)
    assert caught.value.split(ZeroDivisionError)[1] is None
    assert process.workshop.budget.statistics().used_bytes == 0


@pytest.mark.parametrize("at_s", [0.0, 0.001, 0.005, 0.01, 0.5, 1.003, 1.3, 2.0])
@virtual_time
async def test_a_cancelled_process_leaves_nothing_behind(at_s: float) -> None:
    """Cancelled at any step, streams are closed and bytes freed; the next process is exact."""
    world = World()
    first = Process(world, *_NAMES)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(first.run)
        await trio.sleep(1)
        world.write(*_NAMES, count=2)
        await trio.sleep(0.002)
        nursery.cancel_scope.cancel()
    process = Process(world, *_NAMES)
    with trio.move_on_after(at_s):
        await process.run()
    assert all(stream.is_closed for stream in world.source.streams)
    assert process.workshop.budget.statistics().used_bytes == 0
    world.write(*_NAMES)
    successor = Process(world, *_NAMES)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(successor.run)
        await trio.sleep(5)
        successor.stop()
    assert world.is_exact(*_NAMES)
