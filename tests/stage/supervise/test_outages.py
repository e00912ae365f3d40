"""The supervisor while the stream can't be reached, made or found."""

from __future__ import annotations

import pytest
import trio
from tests.fakes.faults import Script
from tests.fakes.virtual_time import virtual_time
from tests.stage.process import Process, World

from mnc.errors import (
    SinkError,
    SinkRefusedError,
    SinkUnavailableError,
)
from mnc.telemetry.lane import Capturing, Restarting, Starting

_NAMES = ("users", "movies", "orders")


@virtual_time
async def test_nats_is_waited_for() -> None:
    """While NATS can't be reached, lanes are starting; then they run."""
    world = World()
    world.stream.disconnect()
    process = Process(world, *_NAMES)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(process.run)
        await trio.sleep(3600)
        assert {type(lane.state) for lane in process.lanes.values()} == {Starting}
        world.stream.connect()
        await trio.sleep(2)
        assert process.is_ready
        process.stop()


@virtual_time
async def test_an_outage_of_nats_is_said() -> None:
    """A collection that can't publish makes the instance not ready, however it came to that."""
    world = World()
    process = Process(world, "users")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(process.run)
        await trio.sleep(1)
        world.stream.disconnect()
        await trio.sleep(60)
        ready = [process.is_ready]  # there was nothing to publish
        world.write("users")
        await trio.sleep(10)
        ready.append(process.is_ready)
        world.stream.connect()
        await trio.sleep(1)
        ready.append(process.is_ready)
        process.stop()
    assert ready == [True, False, True]
    assert world.is_exact("users")


@pytest.mark.parametrize(
    ("error", "most"),
    [(SinkUnavailableError("no leader"), 90), (SinkRefusedError("too old"), 12)],
    ids=lambda it: getattr(it, "kind", ""),
)
@virtual_time
async def test_a_stream_that_cannot_be_made_delays_all(error: SinkError, most: int) -> None:
    """As long as the stream can't be used nothing is read; it is tried now and then, for ever."""
    world = World()
    tries = 0

    def fail() -> SinkError:
        nonlocal tries
        tries += 1
        return error

    world.stream.ensure_faults = fail
    process = Process(world, *_NAMES)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(process.run)
        await trio.sleep(60)
        assert 3 <= tries <= most
        assert world.source.streams == []
        assert {type(lane.state) for lane in process.lanes.values()} == {Restarting}
        world.stream.ensure_faults = Script()
        await trio.sleep(31)
        assert process.is_ready
        process.stop()


@pytest.mark.parametrize("when", ["at once", "later"])
@virtual_time
async def test_a_broken_stream_delays_its_own_collections(when: str) -> None:
    """What goes to other streams is captured, also where a stream ceases to answer in between."""
    world = World()
    process = Process(world, *_NAMES)
    workshop = process.workshop
    workshop.own_streams = {"users": "payments", "movies": "payments"}
    found = workshop.broken if when == "at once" else workshop.deaf
    found["payments"] = SinkUnavailableError("no leader")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(process.run)
        await trio.sleep(1)
        states = {name: type(lane.state) for name, lane in process.lanes.items()}
        assert states == {"users": Restarting, "movies": Restarting, "orders": Capturing}
        world.write("orders")
        found.clear()
        await trio.sleep(31)
        assert process.is_ready
        process.stop()
    assert world.is_exact("orders")


@virtual_time
async def test_a_deleted_stream_is_made_again() -> None:
    """A stream that somebody deletes is made anew by the next lane, and filled from there on."""
    world = World()
    process = Process(world, *_NAMES)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(process.run)
        await trio.sleep(1)
        world.write(*_NAMES)
        await trio.sleep(3)
        world.stream.delete()
        before = {name: len(world.source.tokens(name)) for name in _NAMES}
        world.write(*_NAMES)
        await trio.sleep(10)
        for name in _NAMES:
            assert world.stored(name) == world.source.tokens(name)[before[name] :]
        process.stop()
