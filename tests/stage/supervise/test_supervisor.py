"""The supervisor: what fails starts again, alone or together, and what was captured is stored."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection

import pytest
import trio
from tests.fakes.faults import Script
from tests.fakes.source import FakeChangeStream, FakeSource
from tests.fakes.stream import PublishFault
from tests.fakes.virtual_time import virtual_time
from tests.stage.process import Process, World

from mnc.capture.ports import Open
from mnc.errors import (
    CheckpointError,
    CheckpointRefusedError,
    CheckpointUnavailableError,
    MncError,
    PositionLostError,
    SinkUnavailableError,
    SourceError,
    SourceRefusedError,
    SourceUnavailableError,
    StreamFullError,
)
from mnc.lane import Lane
from mnc.model import Epoch
from mnc.supervise.supervisor import _MAX_ACQUIRING
from mnc.telemetry.lane import Capturing, LaneTelemetry, Restarting, Starting, Stopped

_NAMES = ("users", "movies", "orders")
_AWAY = SourceUnavailableError("away")


class _Picky(FakeSource):
    """A source that refuses any stream over one collection."""

    def __init__(self, collection: str, error: SourceError) -> None:
        super().__init__()
        self.collection = collection
        self.error: SourceError | None = error
        self.refused: list[Collection[str]] = []

    async def open(self, collections: Collection[str], *, start: Open) -> FakeChangeStream:
        stream = await super().open(collections, start=start)
        if self.collection in collections and self.error is not None:
            self.refused.append(collections)
            raise self.error
        return stream


# --- going well ----------------------------------------------------------------------------------


@virtual_time
async def test_lanes_that_start_together_share_a_reader() -> None:
    """One change stream serves all collections, and the stream gets all their events."""
    world = World()
    process = Process(world, *_NAMES)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(process.run)
        await trio.sleep(1)
        assert process.is_ready
        for _ in range(50):
            world.write(*_NAMES)
            await trio.sleep(0.1)
        await trio.sleep(1)
        process.stop()
    assert world.is_exact(*_NAMES)
    assert [set(stream.collections) for stream in world.source.streams] == [set(_NAMES)]


@virtual_time
async def test_a_lane_is_ready_when_its_stream_has_answered() -> None:
    """A lane is starting until the change stream is open, then it captures."""
    world = World()
    process = Process(world, "users")
    states = [process.lanes["users"].state]
    async with trio.open_nursery() as nursery:
        nursery.start_soon(process.run)
        for seconds in (0.1, 1.0):
            await trio.sleep(seconds)
            states.append(process.lanes["users"].state)
        process.stop()
    states.append(process.lanes["users"].state)
    assert states == [Starting(), Starting(), Capturing(), Stopped(error=None)]


@virtual_time
async def test_a_lane_that_restarts_is_starting_again() -> None:
    """Once its wait is over, a lane looks for its place again, and still says what ended it."""
    world = World()
    process = Process(world, "users")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(process.run)
        await trio.sleep(1)
        world.source.reply_faults = Script[SourceError](_AWAY)
        world.stream.disconnect()
        await trio.sleep(60)
        assert process.lanes["users"].state == Starting(after=_AWAY)
        process.stop()


# --- failures of lanes ---------------------------------------------------------------------------


@virtual_time
async def test_a_lane_fails_alone() -> None:
    """While one collection waits for its restart, the others go on without a pause."""
    world = World()
    process = Process(world, *_NAMES)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(process.run)
        await trio.sleep(1)
        world.stream.publish_faults = Script[PublishFault](StreamFullError("full"))
        world.write("users")
        await trio.sleep(1)
        assert isinstance(process.lanes["users"].state, Restarting)
        for _ in range(10):
            world.write(*_NAMES)
            await trio.sleep(0.1)
            assert world.is_exact("movies", "orders")
        assert world.stored("users") == []
        await trio.sleep(60)
        assert world.is_exact(*_NAMES)
        assert process.is_ready
        process.stop()


@pytest.mark.parametrize("earlier_readers", [0, 2])
@virtual_time
async def test_a_lane_that_came_back_joins_the_others(earlier_readers: int) -> None:
    """The reader of its own is given up once it has caught up, so that one stream is left.

    Readers that failed before are no matter.
    """
    world = World()
    process = Process(world, *_NAMES)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(process.run)
        for _ in range(earlier_readers):
            await trio.sleep(2)
            world.source.reply_faults = Script[SourceError](_AWAY)
        await trio.sleep(2)
        world.stream.publish_faults = Script[PublishFault](StreamFullError("full"))
        world.write(*_NAMES)
        await trio.sleep(60)
        open_streams = [stream for stream in world.source.streams if not stream.is_closed]
        assert [set(stream.collections) for stream in open_streams] == [set(_NAMES)]
        world.write(*_NAMES)
        await trio.sleep(1)
        assert world.is_exact(*_NAMES)
        process.stop()


@virtual_time
async def test_a_lane_that_cannot_acquire_is_tried_again_alone() -> None:
    """A position that may not be read delays its own collection only."""
    world = World()
    world.store.load_faults = Script(None, CheckpointRefusedError("no privilege"))
    process = Process(world, *_NAMES)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(process.run)
        await trio.sleep(5)
        world.write(*_NAMES)
        await trio.sleep(1)
        fine = [name for name in _NAMES if process.lanes[name].state == Capturing()]
        (refused,) = {*_NAMES} - {*fine}
        assert isinstance(process.lanes[refused].state, Restarting)
        assert world.is_exact(*fine)
        await trio.sleep(30)
        assert process.is_ready
        process.stop()


@pytest.mark.parametrize("failing", [0, 3, 20])
@virtual_time
async def test_a_server_that_is_away_is_asked_by_few_of_a_cohort(failing: int) -> None:
    """When one lane finds a server away, those that wait aren't built; those before it run."""
    names = [f"c{number}" for number in range(100)]
    world = World()
    loads = 0

    def fail_from() -> CheckpointError | None:
        nonlocal loads
        loads += 1
        return CheckpointUnavailableError("away") if loads > failing else None

    world.store.load_faults = fail_from
    process = Process(world, *names)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(process.run)
        await trio.sleep(0.04)
        assert failing < loads <= failing + _MAX_ACQUIRING
        states = Counter(type(lane.state) for lane in process.lanes.values())
        assert states == Counter({Starting: failing, Restarting: 100 - failing})
        world.store.load_faults = Script()
        await trio.sleep(5)
        assert process.is_ready
        world.write(*names)
        await trio.sleep(1)
        assert world.is_exact(*names)
        process.stop()


@virtual_time
async def test_positions_are_looked_for_beside_one_another() -> None:
    """Taking over many collections takes far less than the sum of their questions' times."""
    names = [f"c{number}" for number in range(100)]
    world = World(latency=lambda: 0.01)
    process = Process(world, *names)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(process.run)
        await trio.sleep(5)
        process.stop()
    process = Process(world, *names)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(process.run)
        await trio.sleep(100 * 2 * 0.01 / 4)
        assert process.workshop.readers
        process.stop()


@virtual_time
async def test_a_rival_makes_a_lane_look_again() -> None:
    """A lane that lost its fence starts from the rival's marker, and the stream stays exact."""
    world = World()
    first, second = Process(world, "users", seed=1), Process(world, "users", seed=2)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(first.run)
        nursery.start_soon(second.run)
        await trio.sleep(1)
        for _ in range(50):
            world.write("users", count=3)
            await trio.sleep(0.2)
        second.stop()
        await trio.sleep(100)
        assert world.is_exact("users")
        first.stop()


@virtual_time
async def test_lanes_are_built_once_a_start() -> None:
    """A collection never has two lanes at a time, however often it fails."""
    world = World()
    process = Process(world, "users")
    running = 0
    highest = 0
    build = process.workshop.lane

    class _Counted(Lane):
        async def run(self) -> None:
            nonlocal running, highest
            running += 1
            highest = max(highest, running)
            try:
                await super().run()
            finally:
                running -= 1

    async def lane(
        collection: str,
        epoch: Epoch,
        telemetry: LaneTelemetry,
        /,
        *,
        after: MncError | None,
        snapshot: bool,
    ) -> Lane:
        built = await build(collection, epoch, telemetry, after=after, snapshot=snapshot)
        return _Counted(
            route=built.route,
            publisher=built._publisher,
            keeper=built._keeper,
            observer=built._observer,
        )

    process.workshop.lane = lane  # type: ignore[method-assign]  # to count what it builds
    world.stream.publish_faults = Script[PublishFault](
        *[None, SinkUnavailableError("busy"), StreamFullError("full")] * 5
    )
    async with trio.open_nursery() as nursery:
        nursery.start_soon(process.run)
        await trio.sleep(1)
        for _ in range(100):
            world.write("users")
            await trio.sleep(5)
        process.stop()
    assert highest == 1
    assert world.is_exact("users")


# --- failures of readers -------------------------------------------------------------------------


@virtual_time
async def test_a_reader_takes_its_lanes_along() -> None:
    """When the change stream breaks, its lanes restart together, and nothing is lost."""
    world = World()
    process = Process(world, *_NAMES)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(process.run)
        await trio.sleep(1)
        world.source.reply_faults = Script[SourceError](_AWAY)
        world.write(*_NAMES)
        await trio.sleep(0.5)
        world.write(*_NAMES)
        await trio.sleep(5)
        assert process.is_ready
        assert world.is_exact(*_NAMES)
        assert {_restarts(lane) for lane in process.lanes.values()} == {1}
        process.stop()
    openings = [set(stream.collections) for stream in world.source.streams]
    assert openings == [set(_NAMES)] * 2


@virtual_time
async def test_restarts_back_off_and_go_on_for_ever() -> None:
    """In an outage of an hour a server is tried about every second and a half, and no faster."""
    world = World()
    world.source.open_faults = lambda: _AWAY
    process = Process(world, "users")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(process.run)
        await trio.sleep(3600)
        (lane,) = process.lanes.values()
        assert isinstance(lane.state, Restarting)
        assert lane.state.error is _AWAY
        assert 1800 <= _restarts(lane) <= 3600
        world.source.open_faults = Script()
        world.write("users")
        await trio.sleep(3)
        assert process.is_ready
        process.stop()


def _restarts(lane: LaneTelemetry) -> float:
    restarts: float = lane._restarts._value.get()
    return restarts


@virtual_time
async def test_a_healthy_while_forgives_earlier_failures() -> None:
    """After a minute of health the next failure is tried again at once."""
    world = World()
    world.source.open_faults = Script[SourceError](*[_AWAY] * 20)
    process = Process(world, "users")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(process.run)
        await trio.sleep(700)
        assert process.is_ready
        world.source.reply_faults = Script[SourceError](_AWAY)
        await trio.sleep(2)
        assert process.is_ready
        process.stop()


@virtual_time
async def test_a_long_outage_counts_for_nothing_else() -> None:
    """Right after a server was away for an hour, another failure is tried again at once."""
    world = World()
    world.source.open_faults = lambda: _AWAY
    process = Process(world, "users")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(process.run)
        await trio.sleep(3600)
        world.source.open_faults = Script()
        await trio.sleep(3)
        assert process.is_ready
        world.stream.purge()  # the fence of the next batch is gone with the marker
        world.write("users")
        await trio.sleep(2)
        assert process.is_ready
        process.stop()
    assert _restarts(process.lanes["users"]) > 0


@pytest.mark.parametrize(
    "error", [SourceRefusedError("no privilege"), PositionLostError("rolled over")]
)
@virtual_time
async def test_one_collections_lasting_error_leaves_the_others_running(error: SourceError) -> None:
    """When a shared stream fails for good, each lane gets a try of its own: one is to blame."""
    source = _Picky("users", error)
    world = World(source=source)
    process = Process(world, *_NAMES)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(process.run)
        await trio.sleep(5)
        world.write(*_NAMES)
        await trio.sleep(1)
        assert world.is_exact("movies", "orders")
        assert process.lanes["movies"].state == process.lanes["orders"].state == Capturing()
        state = process.lanes["users"].state
        assert isinstance(state, Restarting | Stopped)
        assert state.error is error
        assert source.refused[1:] == [("users",)]
        process.stop()


@virtual_time
async def test_a_lane_that_had_a_try_of_its_own_backs_off_like_any_other() -> None:
    """The quick try is for the shared stream's error alone, not for the next one."""
    world = World(source=_Picky("users", SourceRefusedError("no privilege")))
    process = Process(world, *_NAMES)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(process.run)
        await trio.sleep(5)
        world.stream.publish_faults = Script[PublishFault](StreamFullError("full"))
        world.write("movies")
        await trio.sleep(10)
        assert world.stored("movies") == []
        await trio.sleep(30)
        assert world.is_exact("movies")
        process.stop()


@virtual_time
async def test_a_lasting_error_that_heals_is_noticed() -> None:
    """A refused collection is tried again at the longest delay, and joins when it is allowed."""
    source = _Picky("users", SourceRefusedError("no privilege"))
    world = World(source=source)
    process = Process(world, *_NAMES)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(process.run)
        await trio.sleep(200)
        assert 5 <= len(source.refused) <= 20
        source.error = None
        world.write(*_NAMES)
        await trio.sleep(31)
        assert process.is_ready
        assert world.is_exact(*_NAMES)
        process.stop()
