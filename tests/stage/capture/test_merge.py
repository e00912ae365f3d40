"""Readers that take over each other's routes."""

from __future__ import annotations

import random

import pytest
import trio
from tests.fakes.virtual_time import virtual_time
from tests.stage.capture.reading import Reading, take_all

from mnc.capture.ports import StartAfter, StartAt
from mnc.capture.reader import Reader
from mnc.capture.route import Route
from mnc.model import ResumeToken


@virtual_time
async def test_an_older_reader_takes_over_who_has_caught_up() -> None:
    """A younger reader that is as far gives its routes away and ends; nothing is lost.

    The older one opens a stream anew, over all of them.
    """
    reading = Reading()
    tokens = [reading.source.write(name) for name in ("users", "movies") * 50]
    users, movies = reading.route("users", tokens[-1]), reading.route("movies")
    older = reading.reader(users)
    younger = reading.reader(movies, merge=older.offer)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(older.run)
        await younger.run()
        assert not younger.routes
        assert set(older.routes) == {users, movies}
        await trio.sleep(5)
        for name in ("users", "movies"):
            reading.source.write(name)
        await trio.sleep(5)
        older.stop()
    assert set(reading.source.streams[-1].collections) == {"users", "movies"}
    assert [it.token for it in take_all(users)] == reading.tokens("users", after=tokens[-1])
    assert [it.token for it in take_all(movies)] == reading.tokens("movies")


@virtual_time
async def test_who_is_behind_is_not_taken_over() -> None:
    """A reader that would have to go back for another's routes says no."""
    reading = Reading()
    token = reading.source.write("users")
    ahead = reading.reader(reading.route("users", token))
    behind = reading.reader(reading.route("movies"))
    assert not ahead.offer(behind)
    assert len(ahead.routes) == len(behind.routes) == 1
    assert behind.offer(ahead)
    assert behind.boundary == reading.beginning
    assert len(behind.routes) == 2


@virtual_time
async def test_a_lane_without_room_is_not_taken_over() -> None:
    """A route that would hold up the older reader at once waits until its lane has stored more."""
    reading = Reading(budget_bytes=20_000)
    slow, other = reading.route("slow"), reading.route("other")
    older, younger = reading.reader(other), reading.reader(slow)
    for _ in range(100):
        reading.source.write("slow")
    with trio.move_on_after(1):
        await younger.run()
    assert not older.offer(younger)
    assert not younger.offer(older)
    take_all(slow)
    assert older.offer(younger)


@virtual_time
async def test_who_is_ending_takes_over_nobody() -> None:
    """A reader that was stopped, or has no open route, says no."""
    reading = Reading()
    stopped, other = reading.reader(reading.route("a")), reading.reader(reading.route("b"))
    stopped.stop()
    assert not stopped.offer(other)
    ended_route = reading.route("c")
    ended = reading.reader(ended_route)
    ended_route.close()
    assert not ended.offer(other)
    assert len(other.routes) == 1


@virtual_time
async def test_a_takeover_while_the_stream_opens_is_not_forgotten() -> None:
    """Routes that come while a stream is being opened are read for from the next one on."""
    reading = Reading()
    reading.source.write("movies")
    users, movies = reading.route("users"), reading.route("movies")
    older, younger = reading.reader(users), reading.reader(movies)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(older.run)
        await trio.sleep(0.0005)
        assert reading.source.streams == []
        assert older.offer(younger)
        await trio.sleep(5)
        older.stop()
    assert [it.token for it in take_all(movies)] == reading.tokens("movies")


@virtual_time
async def test_a_takeover_at_an_older_position_goes_back_for_it() -> None:
    """Routes that come while an invalidation is read are not skipped over with it.

    The next stream begins where they stand, and meets the invalidation once more.
    """
    reading = Reading()
    users = reading.route("users")
    reading.source.write("users")
    older = reading.reader(users)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(older.run)
        await trio.sleep(0.1)  # a reply is waited for
        before = users.frontier
        movies = reading.route("movies", before)
        reading.source.write("movies")
        invalidated = reading.source.drop_database()
        reading.source.write("movies")
        assert older.offer(reading.reader(movies))
        await trio.sleep(5)
        older.stop()
    assert [it.token for it in take_all(movies)] == reading.tokens("movies")
    assert [stream.start for stream in reading.source.streams] == [
        StartAt(reading.beginning.cluster_time),
        StartAt(before.cluster_time),
        StartAfter(invalidated),
    ]


@pytest.mark.parametrize("seed", range(40))
@virtual_time
async def test_routes_move_between_readers_without_loss_or_repeats(seed: int) -> None:
    """Random writes, drops, failures of lanes, detaching and merging: every lane gets it all.

    Each collection's events arrive once, in order, whoever read for it when.
    """
    rng = random.Random(seed)
    reading = Reading(budget_bytes=rng.choice([1, 20_000, 20_000, 10**9]))
    reading.source._latency = lambda: rng.uniform(0, 0.05)
    names = ["a", "b", "c", "d"]
    stored: dict[str, list[ResumeToken]] = {name: [] for name in names}
    readers: list[Reader] = []
    routes: dict[str, Route] = {}

    def merge(reader: Reader) -> bool:
        return readers[0] is not reader and readers[0].offer(reader)

    async def write() -> None:
        for _ in range(150):
            await trio.sleep(rng.choice([0.0, 0.0, 0.3]))
            match rng.random():
                case chance if chance < 0.03:
                    reading.source.drop_database()
                case chance if chance < 0.3:
                    reading.source.transact(*rng.choices(names, k=4))
                case _:
                    reading.source.write(rng.choice(names))

    async def read(nursery: trio.Nursery, cohort: list[str]) -> None:
        for name in cohort:
            frontier = stored[name][-1] if stored[name] else None
            routes[name] = reading.route(name, frontier)
            nursery.start_soon(store, nursery, routes[name])
        await run(nursery, *(routes[name] for name in cohort))

    async def run(nursery: trio.Nursery, *routes: Route) -> None:
        def detach(route: Route) -> bool:
            if rng.random() < 0.3:
                return False
            nursery.start_soon(run, nursery, route)
            return True

        reader = reading.reader(*routes, merge=merge, detach=detach)
        readers.append(reader)
        await reader.run()
        readers.remove(reader)
        for route in reader.routes:
            route.end()

    async def store(nursery: trio.Nursery, route: Route) -> None:
        while events := await route.take(max_events=rng.randint(1, 5), max_bytes=10**9):
            await trio.sleep(rng.choice([*[0.0, 0.05, 0.1] * 9, 6.0]))
            if is_writing and rng.random() < 0.05:
                route.close()  # the lane fails with a batch in hand, and starts anew
                nursery.start_soon(read, nursery, [route.collection])
                return
            stored[route.collection] += [it.token for it in events]
            route.settle(events)

    is_writing = True
    async with trio.open_nursery() as nursery:
        nursery.start_soon(read, nursery, names[:2])
        nursery.start_soon(read, nursery, names[2:])
        await write()
        is_writing = False
        await trio.sleep(120)
        for reader in readers:
            reader.stop()
    for name in names:
        assert stored[name] == reading.tokens(name), f"seed {seed}, collection {name}"
    assert reading.budget.statistics().used_bytes == 0
