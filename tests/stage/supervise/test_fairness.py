"""Fairness: a lane that can't store its events holds up no other for long."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
import trio
from tests.fakes.stream import FakeStream
from tests.fakes.virtual_time import virtual_time
from tests.stage.process import Process, World

from mnc.model import StreamSeq
from mnc.publish.ports import Batch
from mnc.telemetry.lane import Capturing

_NAMES = ("users", "movies", "orders")
_BUDGET_BYTES = 1024 * 1024
_BACKLOG = 300
"""So many events of _PADDING_BYTES are more than the budget holds."""

_PADDING_BYTES = 10_000


class _Uneven(FakeStream):
    """A stream that takes its time with some collections."""

    def __init__(self) -> None:
        super().__init__()
        self.delays_s: Mapping[str, float] = {}

    async def publish(self, batch: Batch) -> StreamSeq:
        collection = batch.marker_subject.rpartition(".")[2]
        await trio.sleep(self.delays_s.get(collection, 0.0))
        return await super().publish(batch)


class _UnevenWorld(World):
    def __init__(self) -> None:
        super().__init__()
        self.stream: _Uneven = _Uneven()


def _write_backlog(world: World, collection: str, *, events: int = _BACKLOG) -> None:
    for _ in range(events):
        world.source.write(collection, padding_bytes=_PADDING_BYTES)


def _open_streams(world: World) -> list[set[str]]:
    return [set(stream.collections) for stream in world.source.streams if not stream.is_closed]


@virtual_time
async def test_a_stuck_lane_does_not_hold_up_the_others() -> None:
    """While one collection stores nothing, events of the others arrive within two seconds.

    It goes on where it was, in the same lane, and shares the change stream again in the end.
    """
    world = _UnevenWorld()
    process = Process(world, *_NAMES, budget_bytes=_BUDGET_BYTES)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(process.run)
        await trio.sleep(1)
        world.stream.delays_s = {"users": 20.0}
        _write_backlog(world, "users")
        world.write("movies", "orders")
        await trio.sleep(2)
        assert world.is_exact("movies", "orders")
        for _ in range(50):
            world.write("movies", "orders")
            await trio.sleep(0.1)
            assert world.is_exact("movies", "orders")
        assert len(world.stored("users")) < _BACKLOG
        world.stream.delays_s = {}
        await trio.sleep(60)
        assert world.is_exact("users")
        assert _open_streams(world) == [set(_NAMES)]
        assert {lane.state for lane in process.lanes.values()} == {Capturing()}
        assert not any(lane._restarts._value.get() for lane in process.lanes.values())
        process.stop()


@virtual_time
async def test_a_slow_lane_does_not_hold_up_the_others() -> None:
    """While one collection stores a long backlog, events of the others arrive as ever."""
    world = _UnevenWorld()
    process = Process(world, *_NAMES, budget_bytes=_BUDGET_BYTES)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(process.run)
        await trio.sleep(1)
        world.stream.delays_s = {"users": 1.0}
        _write_backlog(world, "users", events=5 * _BACKLOG)
        await trio.sleep(3)
        for _ in range(100):
            world.write("movies", "orders")
            await trio.sleep(0.1)
            assert world.is_exact("movies", "orders")
        assert len(world.stored("users")) < 5 * _BACKLOG
        await trio.sleep(120)
        assert world.is_exact("users")
        assert _open_streams(world) == [set(_NAMES)]
        process.stop()


@virtual_time
async def test_an_outage_opens_few_change_streams() -> None:
    """While nobody stores anything, lanes aren't detached one after the other without end."""
    names = [f"c{number}" for number in range(20)]
    world = World()
    process = Process(world, *names, budget_bytes=_BUDGET_BYTES)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(process.run)
        await trio.sleep(1)
        world.stream.disconnect()
        for name in names:
            _write_backlog(world, name)
        await trio.sleep(600)
        assert len(world.source.streams) <= 4
        world.stream.connect()
        await trio.sleep(60)
        assert world.is_exact(*names)
        assert _open_streams(world) == [set(names)]
        process.stop()


@pytest.mark.parametrize(("after_s", "streams"), [(0.5, 1), (3.0, 2)])
@virtual_time
async def test_stopping_ends_reading_for_a_slow_lane(after_s: float, streams: int) -> None:
    """A stop drains what was captured, and reads no more, for a lane that is detached or would be.

    Its reader waits for it at the stop; nobody goes on for it after that.
    """
    world = _UnevenWorld()
    process = Process(world, *_NAMES, budget_bytes=_BUDGET_BYTES)
    with trio.fail_after(600):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(process.run)
            await trio.sleep(1)
            world.stream.delays_s = {"users": 1.0}
            _write_backlog(world, "users", events=5 * _BACKLOG)
            await trio.sleep(after_s)
            assert len(_open_streams(world)) == streams
            process.stop()
    stored = world.stored("users")
    assert 0 < len(stored) < 5 * _BACKLOG
    assert stored == world.expected("users")[: len(stored)]
    assert _open_streams(world) == []
