"""Snapshots on fakes: whatever happens meanwhile, the last message of a document is its latest."""

from __future__ import annotations

import json
import random
from collections import Counter
from collections.abc import Mapping

import pytest
import trio
from tests.fakes.faults import Script
from tests.fakes.stream import LOST_ACK, PublishFault, stored_after
from tests.fakes.virtual_time import virtual_time
from tests.stage.lane_world import MARKER, make_world
from tests.stage.process import Process, World

from mnc.errors import (
    FenceLostError,
    PositionLostError,
    SourceError,
    SourceUnavailableError,
    StreamFullError,
)
from mnc.model import EncodedEvent, Position
from mnc.telemetry.lane import Capturing, Copying, Stopped

_AWAY = SourceUnavailableError("away")


def _change(world: World, rng: random.Random) -> None:
    """Change, make or delete one of a hundred documents, or one that is new."""
    present = list(world.source.documents["users"])
    number = rng.choice(present) if present and rng.random() < 0.7 else rng.randrange(10**6)
    operation = rng.choice(("update", "replace", "delete")) if number in present else "insert"
    world.source.write("users", operation=operation, document_id=number)


def _replayed(world: World) -> Mapping[int, str]:
    """Return what a reader of the stream knows in the end: when each document was last written."""
    known: dict[int, str] = {}
    for event in world.stream.events:
        change = json.loads(event.payload)
        number = change["documentKey"]["_id"]
        known.pop(number, None)
        if event.operation == "read":
            known[number] = change["fullDocument"]["written"]
        elif event.operation != "delete":
            known[number] = event.token.data
    return known


def _committed(world: World) -> Mapping[int, object]:
    """Return when each document of the collection was last written."""
    return {number: it["written"] for number, it in world.source.documents["users"].items()}


def _reads(events: list[EncodedEvent]) -> Counter[str]:
    return Counter(event.subject for event in events if event.operation == "read")


@virtual_time
async def test_documents_that_were_there_come_before_the_changes() -> None:
    """Each is read once, in order; then the change stream goes on where the snapshot began."""
    world = World()
    for number in range(1500):
        world.source.write("users", document_id=number)
    process = Process(world, "users", "movies", snapshot_first=True)
    process.workshop.documents.before_read = lambda: world.source.write("users", document_id=700)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(process.run)
        await trio.sleep(10)
        assert process.is_ready
        assert process.lanes["users"].state == Capturing()
        process.stop()
    operations = [event.operation for event in world.stream.events]
    assert operations[:1500] == ["read"] * 1500
    assert set(operations[1500:]) == {"insert"}
    assert [event.subject for event in world.stream.events[:1500]] == [
        f"cs.users.read.{number}" for number in range(1500)
    ]
    assert _replayed(world) == _committed(world)
    marker, document = world.marker("users"), world.checkpoint("users")
    assert marker is not None
    assert document is not None
    assert marker.position.snapshot is document.position.snapshot is None


@pytest.mark.parametrize("seed", range(12))
@virtual_time
async def test_crashes_under_writes_leave_the_end_state_true(seed: int) -> None:
    """Cut off at any moment, with faults of both servers, no document is missing or read twice."""
    rng = random.Random(seed)
    world = World(duplicate_window_s=0.1)
    for number in rng.sample(range(10**6), 400):
        world.source.write("users", document_id=number)
    world.stream.publish_faults = lambda: rng.choice(
        [*[None] * 6, LOST_ACK, stored_after(rng.uniform(0.5, 3)), StreamFullError("full")]
    )
    for _ in range(12):
        process = Process(world, "users", snapshot_first=True, seed=rng.randrange(2**32))
        process.workshop.documents.read_faults = lambda: rng.choice([None, None, None, _AWAY])
        process.workshop.documents.before_read = lambda: _change(world, rng)
        with trio.move_on_after(rng.uniform(0.005, 1.5)):
            await process.run()
        for _ in range(rng.randrange(5)):
            _change(world, rng)
    world.stream.publish_faults = Script[PublishFault]()
    process = Process(world, "users", snapshot_first=True)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(process.run)
        await trio.sleep(60)
        assert process.is_ready
        process.stop()
    assert _replayed(world) == _committed(world)
    assert max(_reads(list(world.stream.events)).values()) == 1


@virtual_time
async def test_a_late_batch_of_another_run_is_not_taken_for_ones_own() -> None:
    """What was read as the same number then may have been another document."""
    world = await make_world()
    for number in (1, 2, 3):
        world.source.write("users", document_id=number)
    reached = await world.acquire(snapshot_first=True)
    world.documents.read_faults = Script[SourceError](None, _AWAY)
    with pytest.raises(SourceUnavailableError):
        await world.lane(reached, documents_per_s=2).run()
    stored = world.stream.marker(MARKER)
    world.source.write("users", operation="delete", document_id=1)
    with pytest.raises(FenceLostError):
        await world.lane(reached, documents_per_s=2).run()
    assert world.stream.marker(MARKER) == stored
    assert _reads(list(world.stream.events)) == {"cs.users.read.1": 1, "cs.users.read.2": 1}


@virtual_time
async def test_an_empty_collection_is_complete_at_once() -> None:
    """There is nothing to read, and the stream says so."""
    world = await make_world()
    reached = await world.acquire(snapshot_first=True)
    assert reached.position.snapshot is not None
    await world.lane(reached).run()
    assert world.observer.completed_copies == [reached.position.snapshot]
    assert (await world.acquire(snapshot_first=True)).position == Position(
        token=reached.position.snapshot.end
    )


@virtual_time
async def test_a_snapshot_of_an_end_that_was_not_heard_of_ends_again() -> None:
    """A lost answer to the last marker costs another look at the end of the collection."""
    world = await make_world()
    world.source.write("users", document_id=1)
    reached = await world.acquire(snapshot_first=True)
    world.stream.publish_faults = Script[PublishFault](None, StreamFullError("full"))
    with pytest.raises(StreamFullError):
        await world.lane(reached).run()
    under_way = await world.acquire()
    assert under_way.position.snapshot is not None
    assert under_way.position.snapshot.documents == 1
    await world.lane(under_way).run()
    assert (await world.acquire()).position.snapshot is None
    assert len(world.stream.events) == 1


@virtual_time
async def test_a_snapshot_does_not_outlast_the_oplog_unnoticed() -> None:
    """It stops within seconds of the oplog losing its beginning, and a person decides."""
    world = World()
    for number in range(400):
        world.source.write("users", document_id=number)
    process = Process(world, "users", snapshot_first=True)
    process.workshop.documents.delays_s["users"] = 3.0
    async with trio.open_nursery() as nursery:
        nursery.start_soon(process.run)
        await trio.sleep(4)
        world.source.forget()
        await trio.sleep(6)
        assert _reads(list(world.stream.events)).total() < 400
        state = process.lanes["users"].state
        assert isinstance(state, Stopped)
        assert isinstance(state.error, PositionLostError)
        process.stop()


@pytest.mark.parametrize("policy", ["snapshot", "now"])
@virtual_time
async def test_lost_history_may_be_healed_by_a_snapshot(policy: str) -> None:
    """With `snapshot` the stream has all documents again, with `now` it doesn't."""
    world = World()
    process = Process(world, "users")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(process.run)
        await trio.sleep(1)
        process.stop()
    for number in range(100):
        world.source.write("users", document_id=number)
    world.source.forget()
    process = Process(world, "users", lost_history="snapshot" if policy == "snapshot" else "now")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(process.run)
        await trio.sleep(10)
        world.source.write("users", document_id=200)
        await trio.sleep(10)
        assert process.is_ready
        process.stop()
    assert (_replayed(world) == _committed(world)) == (policy == "snapshot")
    assert 200 in _replayed(world)


@virtual_time
async def test_a_throttled_snapshot_takes_its_time() -> None:
    """No more documents are read in a second than the setting says."""
    world = await make_world()
    for number in range(100):
        world.source.write("users", document_id=number)
    reached = await world.acquire(snapshot_first=True)
    began_at = trio.current_time()
    await world.lane(reached, documents_per_s=10).run()
    assert 10 <= trio.current_time() - began_at < 12
    assert max(world.documents.limits) == 10


@virtual_time
async def test_what_a_pipeline_leaves_out_is_passed_over() -> None:
    """However much there is of it, the others are read once, in order, and the end is found."""
    world = await make_world()
    for number in range(1000):
        world.source.write("users", document_id=number)
    world.documents.left_out = {*range(400), *range(450, 1000)}
    reached = await world.acquire(snapshot_first=True)
    lane = world.lane(reached, pipeline='[{"$match":{}}]')
    await lane.run()
    assert lane.is_copied
    assert [event.subject for event in world.stream.events] == [
        f"cs.users.read.{number}" for number in range(400, 450)
    ]
    assert lane.copier is not None
    assert lane.copier.snapshot.documents == 1000


@virtual_time
async def test_a_withdrawn_snapshot_goes_on_elsewhere() -> None:
    """Whoever gets the collection reads on behind what was stored, and nothing twice."""
    world = World()
    for number in range(2000):
        world.source.write("users", document_id=number)
    first = Process(world, "users", epoch=1, snapshot_first=True)
    second = Process(world, epoch=2, snapshot_first=True)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(first.run)
        nursery.start_soon(second.run)
        while not world.stream.events:  # noqa: ASYNC110 - virtual time
            await trio.sleep(0.001)
        assert isinstance(first.lanes["users"].state, Copying)
        first.assign()
        second.assign("users", epoch=2)
        await trio.sleep(10)
        assert first.released == [("users", 1)]
        assert second.lanes["users"].state == Capturing()
        first.stop()
        second.stop()
    assert _replayed(world) == _committed(world)
    assert max(_reads(list(world.stream.events)).values()) == 1


@virtual_time
async def test_a_snapshot_that_fails_goes_on_by_itself() -> None:
    """A source that was away is read on where the stream breaks off."""
    world = World()
    for number in range(300):
        world.source.write("users", document_id=number)
    process = Process(world, "users", snapshot_first=True)
    process.workshop.documents.read_faults = Script[SourceError](None, _AWAY, None, _AWAY)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(process.run)
        await trio.sleep(20)
        assert process.is_ready
        process.stop()
    assert _replayed(world) == _committed(world)
    assert max(_reads(list(world.stream.events)).values()) == 1


@virtual_time
async def test_others_do_not_wait_for_a_snapshot() -> None:
    """A collection that is being read for hours holds up no other of its cohort."""
    world = World()
    for number in range(2000):
        world.source.write("users", document_id=number)
    process = Process(world, "users", "movies", snapshot_first=True)
    process.workshop.documents.delays_s["users"] = 60.0
    async with trio.open_nursery() as nursery:
        nursery.start_soon(process.run)
        await trio.sleep(2)
        world.source.write("movies")
        await trio.sleep(1)
        assert isinstance(process.lanes["users"].state, Copying)
        assert world.stored("movies") == world.source.tokens("movies")
        process.stop()


@virtual_time
async def test_a_snapshot_on_demand_stands_between_two_changes() -> None:
    """What was captured is stored first, then all documents, then what has changed since."""
    world = World()
    process = Process(world, "users", "movies")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(process.run)
        await trio.sleep(1)
        for number in range(100):
            world.source.write("users", document_id=number)
        process.workshop.documents.before_read = lambda: world.source.write(
            "users", document_id=500
        )
        process.supervisor.take_snapshot("users")
        process.supervisor.take_snapshot("users")
        await trio.sleep(5)
        assert process.is_ready
        process.stop()
    operations = "".join(event.operation[0] for event in world.stream.events)
    changes_before, reads, changes_after = operations.partition("r" * 100)
    assert reads
    assert "r" not in changes_before
    assert set(changes_after) <= {"i", "r"}
    assert _replayed(world) == _committed(world)
    assert max(_reads(list(world.stream.events)).values()) == 1
    stored = [event.token for event in world.stream.events if event.operation == "insert"]
    assert stored == world.source.tokens("users")


@virtual_time
async def test_a_request_during_a_snapshot_starts_no_second_one() -> None:
    """The one under way goes on; the supervisor doesn't remember the request."""
    world = World()
    for number in range(300):
        world.source.write("users", document_id=number)
    process = Process(world, "users", snapshot_first=True)
    process.workshop.documents.delays_s["users"] = 1.0
    async with trio.open_nursery() as nursery:
        nursery.start_soon(process.run)
        await trio.sleep(2)
        assert isinstance(process.lanes["users"].state, Copying)
        process.supervisor.take_snapshot("users")
        process.supervisor.take_snapshot("elsewhere")
        await trio.sleep(30)
        assert process.is_ready
        assert "snapshot" not in process.lanes["users"].snapshot()
        process.stop()
    assert max(_reads(list(world.stream.events)).values()) == 1


@virtual_time
async def test_snapshots_may_follow_one_another() -> None:
    """Each has all documents, also when nothing was committed in between."""
    world = await make_world()
    world.source.write("users", document_id=1)
    for taken in range(1, 4):
        reached = await world.acquire(snapshot_now=True)
        await world.lane(reached).run()
        assert _reads(list(world.stream.events)) == {"cs.users.read.1": taken}
