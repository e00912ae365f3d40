"""The supervisor: what fails starts again, alone or together, and what was captured is stored."""

from __future__ import annotations

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
    CheckpointUnavailableError,
    MncError,
    PositionLostError,
    SinkRefusedError,
    SinkUnavailableError,
    SourceError,
    SourceRefusedError,
    SourceUnavailableError,
    StreamFullError,
)
from mnc.lane import Lane
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


def _write(world: World, *names: str, count: int = 1) -> None:
    for _ in range(count):
        for name in names or _NAMES:
            world.source.write(name)


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
            _write(world)
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
        _write(world, "users")
        await trio.sleep(1)
        assert isinstance(process.lanes["users"].state, Restarting)
        for _ in range(10):
            _write(world)
            await trio.sleep(0.1)
            assert world.is_exact("movies", "orders")
        assert world.stored("users") == []
        await trio.sleep(60)
        assert world.is_exact(*_NAMES)
        assert process.is_ready
        process.stop()


@virtual_time
async def test_a_lane_that_came_back_joins_the_others() -> None:
    """The reader of its own is given up once it has caught up, so that one stream is left."""
    world = World()
    process = Process(world, *_NAMES)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(process.run)
        await trio.sleep(1)
        world.stream.publish_faults = Script[PublishFault](StreamFullError("full"))
        _write(world)
        await trio.sleep(60)
        open_streams = [stream for stream in world.source.streams if not stream.is_closed]
        assert [set(stream.collections) for stream in open_streams] == [set(_NAMES)]
        _write(world)
        await trio.sleep(1)
        assert world.is_exact(*_NAMES)
        process.stop()


@virtual_time
async def test_a_lane_that_cannot_acquire_is_tried_again_alone() -> None:
    """A position that can't be read delays its own collection only."""
    world = World()
    world.store.load_faults = Script(None, CheckpointUnavailableError("away"))
    process = Process(world, *_NAMES)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(process.run)
        await trio.sleep(0.02)
        assert isinstance(process.lanes["movies"].state, Restarting)
        await trio.sleep(5)
        assert process.is_ready
        _write(world)
        await trio.sleep(1)
        assert world.is_exact(*_NAMES)
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
            _write(world, "users", count=3)
            await trio.sleep(0.2)
        second.stop()
        await trio.sleep(100)
        assert world.is_exact("users")
        first.stop()


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
        _write(world)
        await trio.sleep(0.5)
        _write(world)
        await trio.sleep(5)
        assert process.is_ready
        assert world.is_exact(*_NAMES)
        assert {_restarts(lane) for lane in process.lanes.values()} == {1}
        process.stop()
    openings = [set(stream.collections) for stream in world.source.streams]
    assert openings == [set(_NAMES)] * 2


@virtual_time
async def test_restarts_back_off_and_go_on_for_ever() -> None:
    """An outage of an hour is a few hundred tries, no more than half a minute apart."""
    world = World()
    world.source.open_faults = lambda: _AWAY
    process = Process(world, "users")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(process.run)
        await trio.sleep(3600)
        (lane,) = process.lanes.values()
        assert isinstance(lane.state, Restarting)
        assert lane.state.error is _AWAY
        assert 120 <= len(process.workshop.readers) + _restarts(lane) <= 250
        world.source.open_faults = Script()
        _write(world, "users")
        await trio.sleep(31)
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
        _write(world)
        await trio.sleep(1)
        assert world.is_exact("movies", "orders")
        assert process.lanes["movies"].state == process.lanes["orders"].state == Capturing()
        state = process.lanes["users"].state
        assert isinstance(state, Restarting | Stopped)
        assert state.error is error
        assert source.refused[1:] == [("users",)]
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
        _write(world)
        await trio.sleep(31)
        assert process.is_ready
        assert world.is_exact(*_NAMES)
        process.stop()


# --- the stream isn't ready ----------------------------------------------------------------------


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
        _write(world, "users")
        await trio.sleep(10)
        ready.append(process.is_ready)
        world.stream.connect()
        await trio.sleep(1)
        ready.append(process.is_ready)
        process.stop()
    assert ready == [True, False, True]
    assert world.is_exact("users")


@pytest.mark.parametrize(
    ("error", "tries"),
    [(SinkUnavailableError("no leader"), range(5, 12)), (SinkRefusedError("too old"), range(2, 5))],
    ids=lambda it: getattr(it, "kind", ""),
)
@virtual_time
async def test_a_stream_that_cannot_be_made_delays_all(error: MncError, tries: range) -> None:
    """As long as the stream can't be used, nothing is read, and it is tried again."""
    world = World()
    count = 0

    def fail() -> MncError:
        nonlocal count
        count += 1
        return error

    world.stream.ensure_faults = fail  # type: ignore[assignment]  # both are of the sink
    process = Process(world, *_NAMES)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(process.run)
        await trio.sleep(60)
        assert count in [lanes_due * it for it in tries for lanes_due in (1, 2, 3)]
        assert world.source.streams == []
        assert {type(lane.state) for lane in process.lanes.values()} == {Restarting}
        process.stop()


@virtual_time
async def test_a_deleted_stream_is_made_again() -> None:
    """A stream that somebody deletes is made anew by the next lane, and filled from there on."""
    world = World()
    process = Process(world, *_NAMES)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(process.run)
        await trio.sleep(1)
        _write(world)
        await trio.sleep(3)
        world.stream.delete()
        before = {name: len(world.source.tokens(name)) for name in _NAMES}
        _write(world)
        await trio.sleep(10)
        for name in _NAMES:
            assert world.stored(name) == world.source.tokens(name)[before[name] :]
        process.stop()


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
        _write(world, count=20)
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
        _write(world, "users")
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

    def fail() -> MncError:
        raise ZeroDivisionError

    match where:
        case "build":
            world.store.load_faults = fail  # type: ignore[assignment]  # it never returns
        case "read":
            world.source.reply_faults = fail  # type: ignore[assignment]  # it never returns
        case "publish":
            world.stream.publish_faults = fail  # type: ignore[assignment]  # it never returns
        case _:
            await process.workshop.prepare()
    if where == "checkpoint":
        async with trio.open_nursery() as nursery:
            nursery.start_soon(process.run)
            await trio.sleep(1)
            process.stop()
        process = Process(world, *_NAMES)
        world.store.write_faults = fail  # type: ignore[assignment]  # it never returns
    with pytest.raises(ExceptionGroup) as caught:  # noqa: PT012 - it is raised at its end
        async with trio.open_nursery() as nursery:
            nursery.start_soon(process.run)
            await trio.sleep(0.9)
            _write(world, "users")
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
        _write(world, count=2)
        await trio.sleep(0.002)
        nursery.cancel_scope.cancel()
    process = Process(world, *_NAMES)
    with trio.move_on_after(at_s):
        await process.run()
    assert all(stream.is_closed for stream in world.source.streams)
    assert process.workshop.budget.statistics().used_bytes == 0
    _write(world)
    successor = Process(world, *_NAMES)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(successor.run)
        await trio.sleep(5)
        successor.stop()
    assert world.is_exact(*_NAMES)


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

    async def lane(collection: str, telemetry: LaneTelemetry, /) -> Lane:
        built = await build(collection, telemetry)
        return _Counted(
            route=built.route,
            publisher=built._publisher,
            keeper=built._keeper,
            checkpoints=built._checkpoints,
        )

    process.workshop.lane = lane  # type: ignore[method-assign]  # to count what it builds
    world.stream.publish_faults = Script[PublishFault](
        *[None, SinkUnavailableError("busy"), StreamFullError("full")] * 5
    )
    async with trio.open_nursery() as nursery:
        nursery.start_soon(process.run)
        await trio.sleep(1)
        for _ in range(100):
            _write(world, "users")
            await trio.sleep(5)
        process.stop()
    assert highest == 1
    assert world.is_exact("users")
