"""Collections that come and go: each assignment has its lane, and its release."""

from __future__ import annotations

import random
from collections import Counter

import pytest
import trio
from tests.fakes.faults import Script
from tests.fakes.stream import PublishFault
from tests.fakes.virtual_time import virtual_time
from tests.stage.process import Process, World

from mnc.errors import PositionLostError, SourceError, SourceUnavailableError, StreamFullError
from mnc.telemetry.lane import Capturing, Draining, Restarting, Starting, Stopped

_NAMES = ("users", "movies", "orders")
_AWAY = SourceUnavailableError("away")


# --- coming --------------------------------------------------------------------------------------


@virtual_time
async def test_new_collections_start_at_once_together() -> None:
    """What is assigned later is captured by one more change stream, which the first one takes over.

    Those that run already go on.
    """
    world = World()
    process = Process(world, "users")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(process.run)
        await trio.sleep(2)
        process.assign(*_NAMES)
        await trio.sleep(0.02)
        assert len(process.workshop.readers) == 2
        world.write(*_NAMES)
        await trio.sleep(0.02)
        assert world.is_exact(*_NAMES)
        await trio.sleep(2)
        open_streams = [stream for stream in world.source.streams if not stream.is_closed]
        assert [set(stream.collections) for stream in open_streams] == [set(_NAMES)]
        process.stop()
    assert len(process.workshop.readers) == 2


@virtual_time
async def test_the_same_assignment_changes_nothing() -> None:
    """Said again and again, what is ours goes on as it is."""
    world = World()
    process = Process(world, *_NAMES, epoch=1)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(process.run)
        for _ in range(50):
            process.assign(*_NAMES, epoch=1)
            await trio.sleep(0.1)
        assert len(world.source.streams) == 1
        process.stop()


@virtual_time
async def test_nothing_starts_after_the_stop() -> None:
    """A supervisor that was told to stop takes nothing more."""
    world = World()
    process = Process(world, "users", epoch=1)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(process.run)
        await trio.sleep(1)
        process.stop()
        process.assign(*_NAMES, epoch=2)
    assert process.released == [("users", 1)]


# --- going ---------------------------------------------------------------------------------------


@virtual_time
async def test_a_withdrawn_collection_is_stored_before_it_is_released() -> None:
    """What was captured of it is in the stream and in its checkpoint; the others don't notice."""
    world = World()
    process = Process(world, *_NAMES, epoch=1)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(process.run)
        await trio.sleep(1)
        world.stream.disconnect()
        world.write(*_NAMES, count=3)
        await trio.sleep(1)
        process.assign("movies", "orders", epoch=1)
        assert process.lanes["users"].state == Draining()
        await trio.sleep(1)
        assert process.released == []
        world.stream.connect()
        await trio.sleep(2)
        assert process.released == [("users", 1)]
        assert world.is_exact(*_NAMES)
        assert world.checkpoint("users") == world.marker("users")
        world.write(*_NAMES)
        await trio.sleep(1)
        assert world.is_exact("movies", "orders")
        assert len(world.stored("users")) == 3
        process.stop()
    assert sorted(process.released) == [("movies", 1), ("orders", 1), ("users", 1)]


@virtual_time
async def test_a_withdrawn_collection_is_no_longer_read() -> None:
    """The server is soon asked for the remaining collections alone, by one change stream."""
    world = World()
    process = Process(world, *_NAMES)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(process.run)
        await trio.sleep(1)
        process.assign("movies", "orders")
        await trio.sleep(1)
        open_streams = [stream for stream in world.source.streams if not stream.is_closed]
        assert [set(stream.collections) for stream in open_streams] == [{"movies", "orders"}]
        process.assign()
        await trio.sleep(1)
        assert all(stream.is_closed for stream in world.source.streams)
        process.stop()


@virtual_time
async def test_a_collection_that_is_idle_is_released_at_once() -> None:
    """The next owner doesn't wait until the change stream's wait for an event is over."""
    world = World()
    process = Process(world, *_NAMES, epoch=1)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(process.run)
        await trio.sleep(1.7)
        process.assign("users", "movies", epoch=1)
        await trio.sleep(0.01)
        assert process.released == [("orders", 1)]
        process.stop()
        await trio.sleep(0.01)
        assert sorted(process.released) == [("movies", 1), ("orders", 1), ("users", 1)]


@virtual_time
async def test_a_drain_has_a_deadline() -> None:
    """What can't be stored in time is left to the next owner, and lost to nobody."""
    world = World()
    process = Process(world, "users", epoch=1)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(process.run)
        await trio.sleep(1)
        world.stream.disconnect()
        world.write("users", count=3)
        await trio.sleep(1)
        process.assign()
        await trio.sleep(4.9)
        assert process.released == []
        await trio.sleep(0.2 + 2)
        assert process.released == [("users", 1)]
        assert process.workshop.budget.statistics().used_bytes == 0
        world.stream.connect()
        process.assign("users", epoch=2)
        await trio.sleep(2)
        assert world.is_exact("users")
        process.stop()


@virtual_time
async def test_nats_away_keeps_nobody_from_a_release() -> None:
    """What waits for the stream to be ready is released at once, and what is new waits with it."""
    world = World()
    world.stream.disconnect()
    process = Process(world, "users", "movies", epoch=1)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(process.run)
        await trio.sleep(60)
        process.assign("movies", "orders", epoch=1)
        assert process.released == [("users", 1)]
        world.stream.connect()
        await trio.sleep(1)
        assert {name: lane.state for name, lane in process.lanes.items()} == {
            "movies": Capturing(),
            "orders": Capturing(),
        }
        process.stop()


@virtual_time
async def test_a_slow_server_keeps_nobody_from_a_release() -> None:
    """A collection whose position is being looked for is released without the answer."""
    world = World(latency=lambda: 30.0)
    process = Process(world, "users", "movies", epoch=1)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(process.run)
        await trio.sleep(40)
        process.assign("movies", epoch=1)
        await trio.sleep(0.1)
        assert process.released == [("users", 1)]
        process.stop()
        await trio.sleep(0.1)
        assert process.released == [("users", 1), ("movies", 1)]


@pytest.mark.parametrize("at_ms", range(30))
@virtual_time
async def test_a_collection_is_released_once_whenever_it_goes(at_ms: int) -> None:
    """Withdrawn at any moment of a start, it is released soon, once, and leaves nothing behind."""
    world = World()
    process = Process(world, *_NAMES, epoch=1)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(process.run)
        await trio.sleep(at_ms * 0.0005)
        process.assign("movies", epoch=1)
        await trio.sleep(0.5)
        assert sorted(process.released) == [("orders", 1), ("users", 1)]
        world.write(*_NAMES)
        await trio.sleep(1)
        assert world.is_exact("movies")
        assert world.stored("users") == world.stored("orders") == []
        process.stop()
    assert len(process.released) == 3
    assert process.workshop.budget.statistics().used_bytes == 0
    assert all(stream.is_closed for stream in world.source.streams)


@virtual_time
async def test_a_collection_that_waits_for_its_restart_is_released() -> None:
    """There is nothing to drain, and it doesn't start again."""
    world = World()
    world.source.open_faults = lambda: _AWAY
    process = Process(world, "users", epoch=1)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(process.run)
        await trio.sleep(60)
        while not isinstance(process.lanes["users"].state, Restarting):  # noqa: ASYNC110 - virtual
            await trio.sleep(0.01)
        process.assign()
        assert process.released == [("users", 1)]
        world.source.open_faults = Script()
        await trio.sleep(60)
        assert world.source.streams == []
        process.stop()


@virtual_time
async def test_a_collection_that_stays_down_is_released() -> None:
    """One that waits for a person can go to another instance like any other."""
    world = World()
    process = Process(world, "users", epoch=1)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(process.run)
        await trio.sleep(1)
        world.source.reply_faults = Script[SourceError](PositionLostError("rolled over"))
        await trio.sleep(60)
        assert isinstance(process.lanes["users"].state, Stopped)
        process.assign()
        assert process.released == [("users", 1)]
        process.stop()
    assert process.released == [("users", 1)]


@virtual_time
async def test_a_collection_that_fails_while_it_drains_is_released() -> None:
    """It isn't tried again here: the next owner finds its position."""
    world = World()
    process = Process(world, "users", epoch=1)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(process.run)
        await trio.sleep(1)
        world.stream.disconnect()
        world.write("users")
        await trio.sleep(1)
        process.assign()
        world.stream.publish_faults = Script[PublishFault](*[StreamFullError("full")] * 9)
        world.stream.connect()
        await trio.sleep(3)
        assert process.released == [("users", 1)]
        await trio.sleep(60)
        assert world.stored("users") == []
        process.stop()


# --- coming back ---------------------------------------------------------------------------------


@virtual_time
async def test_a_new_epoch_starts_a_new_lane() -> None:
    """A lane that was acquired with an earlier epoch doesn't go on; nothing is lost in between."""
    world = World()
    process = Process(world, *_NAMES, epoch=1)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(process.run)
        for epoch in range(2, 10):
            await trio.sleep(0.5)
            world.write(*_NAMES, count=3)
            await trio.sleep(0.002)
            process.assign(*_NAMES, epoch=epoch)
            world.write(*_NAMES, count=3)
        await trio.sleep(1)
        assert world.is_exact(*_NAMES)
        for name in _NAMES:
            marker = world.marker(name)
            assert marker is not None
            assert marker.position.epoch == 9
        process.stop()
    assert Counter(process.released) == Counter(
        (name, epoch) for name in _NAMES for epoch in range(1, 10)
    )


@virtual_time
async def test_a_collection_that_comes_back_waits_for_its_old_lane() -> None:
    """While the old lane drains there is no second one; an epoch in between is released, too."""
    world = World()
    process = Process(world, "users", epoch=1)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(process.run)
        await trio.sleep(1)
        world.stream.disconnect()
        world.write("users", count=3)
        await trio.sleep(1)
        process.assign()
        process.assign("users", epoch=2)
        await trio.sleep(1)
        process.assign("users", epoch=3)
        assert process.released == [("users", 2)]
        await trio.sleep(1)
        assert len(process.workshop.readers) == 1
        states = [process.lanes["users"].state]
        world.stream.connect()
        await trio.sleep(2)
        states.append(process.lanes["users"].state)
        assert states == [Draining(), Capturing()]
        assert process.released == [("users", 2), ("users", 1)]
        assert world.is_exact("users")
        process.stop()


@pytest.mark.parametrize("seed", range(20))
@virtual_time
async def test_any_assignments_leave_the_stream_exact(seed: int) -> None:
    """Two instances, to which collections come and go as they like, store everything once.

    Each assignment is released once, and nothing is left of it.
    """
    rng = random.Random(seed)
    world = World(latency=lambda: rng.uniform(0.0005, 0.003))
    processes = [Process(world, seed=seed), Process(world, seed=seed + 1)]
    assigned = [Counter[tuple[str, int]](), Counter[tuple[str, int]]()]
    owned: list[dict[str, int]] = [{}, {}]
    async with trio.open_nursery() as nursery:
        for process in processes:
            nursery.start_soon(process.run)
        for epoch in range(1, 60):
            name, to = rng.choice(_NAMES), rng.randrange(2)
            owned[to][name] = epoch
            assigned[to][name, epoch] += 1
            if rng.random() < 0.7:  # otherwise the other one doesn't know it yet
                owned[1 - to].pop(name, None)
            for process, mine in zip(processes, owned, strict=True):
                process.assign_epochs(mine)
            if rng.random() < 0.1:
                world.stream.disconnect()
            elif rng.random() < 0.3:
                world.stream.connect()
            world.write(*_NAMES)
            await trio.sleep(rng.choice([0.0, 0.001, 0.003, 0.02, 0.2, 2.0]))
        world.stream.connect()
        for process in processes:
            process.assign_epochs({})
        await trio.sleep(60)
        processes[0].assign(*_NAMES, epoch=100)
        await trio.sleep(60)
        assert world.is_exact(*_NAMES)
        processes[0].stop()
        processes[1].stop()
    assigned[0].update((name, 100) for name in _NAMES)
    for process, expected in zip(processes, assigned, strict=True):
        assert Counter(process.released) == expected
        assert process.workshop.budget.statistics().used_bytes == 0


# --- what is shown -------------------------------------------------------------------------------


@virtual_time
async def test_only_what_is_ours_is_shown() -> None:
    """A collection that went has no state and no gauges here; its counters stay."""
    world = World()
    process = Process(world, *_NAMES)

    def shown(metric: str) -> set[str]:
        text = process.metrics.exposition().decode()
        lines = [line for line in text.splitlines() if line.startswith(metric + "{")]
        return {name for name in _NAMES for line in lines if f'collection="{name}"' in line}

    async with trio.open_nursery() as nursery:
        nursery.start_soon(process.run)
        await trio.sleep(1)
        world.write(*_NAMES)
        await trio.sleep(1)
        process.assign("users")
        await trio.sleep(1)
        assert set(process.lanes) == shown("mnc_lane_capturing") == {"users"}
        assert shown("mnc_events_captured_total") == set(_NAMES)
        process.assign(*_NAMES)
        assert process.lanes["movies"].state == Starting()
        await trio.sleep(1)
        assert set(process.lanes) == shown("mnc_lane_capturing") == set(_NAMES)
        process.stop()
