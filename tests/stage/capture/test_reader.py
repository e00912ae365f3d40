"""A reader: one change stream, handed out to its routes, each event once and in order."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pytest
import trio
from tests.fakes.faults import Script
from tests.fakes.virtual_time import virtual_time
from tests.stage.capture.reading import Reading, take_all

from mnc.capture.demultiplex import FIRST_BATCH_SIZE, MAX_BATCH_SIZE
from mnc.capture.ports import StartAfter, StartAt
from mnc.capture.route import Route
from mnc.encode.event import Encoder, EventUnencodableError
from mnc.errors import PositionLostError, SourceError, SourceUnavailableError
from mnc.model import EncodedEvent, ResumeToken

_AWAY = SourceUnavailableError("away")


def _tokens(route: Route) -> Sequence[ResumeToken]:
    return [it.token for it in take_all(route)]


# --- handing out ---------------------------------------------------------------------------------


@virtual_time
async def test_each_route_gets_its_collections_events() -> None:
    """Events go to the route of their collection, in order, and other collections' to nobody."""
    reading = Reading()
    users, movies = reading.route("users"), reading.route("movies")
    for _ in range(20):
        for name in ("users", "movies", "unwatched"):
            reading.source.write(name)
        reading.source.transact("movies", "users", "users")
    await reading.read(users, movies)
    assert _tokens(users) == reading.tokens("users")
    assert _tokens(movies) == reading.tokens("movies")
    assert reading.observer.captures == {"users": 60, "movies": 40}


@virtual_time
async def test_events_are_heard_as_they_are_committed() -> None:
    """A reader that has caught up hands out each new event at once."""
    reading = Reading()
    users = reading.route("users")
    reader = reading.reader(users)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(reader.run)
        for _ in range(5):
            await trio.sleep(10)
            token = reading.source.write("users")
            await trio.sleep(0.1)
            assert _tokens(users) == [token]
        reader.stop()


@virtual_time
async def test_a_reader_begins_at_its_oldest_route() -> None:
    """The stream opens at the cluster time of the oldest frontier; what is after it is skipped."""
    reading = Reading()
    tokens = [reading.source.write("users" if n % 2 else "movies") for n in range(20)]
    users, movies = reading.route("users", tokens[11]), reading.route("movies", tokens[4])
    await reading.read(users, movies)
    assert [stream.start for stream in reading.source.streams] == [StartAt(tokens[4].cluster_time)]
    assert _tokens(users) == reading.tokens("users", after=tokens[11])
    assert _tokens(movies) == reading.tokens("movies", after=tokens[4])


@virtual_time
async def test_a_position_within_a_transaction_is_exact() -> None:
    """Events of one cluster time are skipped up to the frontier, and not beyond it."""
    reading = Reading()
    tokens = reading.source.transact(*["users"] * 5)
    for index, token in enumerate(tokens):
        users = reading.route("users", token)
        await reading.read(users)
        assert _tokens(users) == tokens[index + 1 :]


@virtual_time
async def test_quiet_routes_move_with_the_stream() -> None:
    """A route without events comes as far as the replies do, so that its position doesn't age."""
    reading = Reading()
    users, movies = reading.route("users"), reading.route("movies")
    for _ in range(5):
        reading.source.write("movies")
    reading.source.tick()
    await reading.read(users, movies)
    assert users.frontier > reading.tokens("movies")[-1]
    assert users.frontier == movies.frontier
    assert _tokens(users) == []


async def test_large_replies_are_encoded_too() -> None:
    """What is encoded in a thread arrives as what is encoded in place does."""
    reading = Reading()
    for _ in range(10):
        reading.source.write("users", padding_bytes=20_000)
    assert await _read_all(reading) == reading.tokens("users")


async def _read_all(reading: Reading) -> Sequence[ResumeToken]:
    """Read all of `users` in real time: threads take some, and virtual time doesn't wait."""
    users = reading.route("users")
    reader = reading.reader(users)
    got: list[ResumeToken] = []
    with trio.fail_after(20):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(reader.run)
            while len(got) < len(reading.tokens("users")):
                taken = await users.take(max_events=999, max_bytes=10**7)
                got += [it.token for it in taken]
                users.settle(taken)
            reader.stop()
    return got


# --- how much is read ----------------------------------------------------------------------------


@virtual_time
async def test_fast_events_gather() -> None:
    """Events that follow one another within a millisecond share replies."""
    reading = Reading()
    users = reading.route("users")
    replies = await _read_while_writing(reading, users, pause_s=0.001)
    assert _tokens(users) == reading.tokens("users")
    assert len(replies) < 100


@virtual_time
async def test_a_lone_event_is_read_at_once() -> None:
    """Events that come one by one have a reply each, without a pause before it."""
    reading = Reading()
    users = reading.route("users")
    replies = await _read_while_writing(reading, users, pause_s=0.02)
    assert len(replies) == 200
    assert max(replies) < 0.0015


async def _read_while_writing(reading: Reading, route: Route, *, pause_s: float) -> list[float]:
    """Write 200 events; return how late after the last write each reply was handed out."""
    replies = list[float]()
    written_at = 0.0
    captured = reading.observer.captured

    def note(collection: str, events: int, /) -> None:
        captured(collection, events)
        replies.append(trio.current_time() - written_at)

    reading.observer.captured = note  # type: ignore[method-assign] # to look at the time
    reader = reading.reader(route)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(reader.run)
        await trio.sleep(0.1)
        for _ in range(200):
            reading.source.write("users")
            written_at = trio.current_time()
            await trio.sleep(pause_s)
        await trio.sleep(1)
        reader.stop()
    return replies


@virtual_time
async def test_one_reply_is_read_ahead() -> None:
    """While a reply waits for room, the next one is fetched, and no other."""
    reading = Reading(budget_bytes=1)
    await reading.budget.open_account().reserve(1)
    users = reading.route("users")
    for _ in range(1000):
        reading.source.write("users")
    reader = reading.reader(users)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(reader.run)
        await trio.sleep(60)
        (stream,) = reading.source.streams
        assert len(stream.batch_sizes) == 2
        nursery.cancel_scope.cancel()


async def test_the_size_of_replies_follows_the_events() -> None:
    """Small events are asked for in ever larger replies, up to the limit."""
    reading = Reading()
    for _ in range(4 * MAX_BATCH_SIZE):
        reading.source.write("users")
    assert await _read_all(reading) == reading.tokens("users")
    (stream,) = reading.source.streams
    assert stream.batch_sizes[:2] == [FIRST_BATCH_SIZE, 4 * FIRST_BATCH_SIZE]
    assert max(stream.batch_sizes) == MAX_BATCH_SIZE


# --- invalidation --------------------------------------------------------------------------------


@virtual_time
async def test_reading_goes_on_after_a_dropped_database() -> None:
    """An invalidation ends the stream; the next one begins after it, with nothing lost."""
    reading = Reading()
    users, movies = reading.route("users"), reading.route("movies")
    reading.source.write("users")
    first = reading.source.drop_database()
    reading.source.write("movies")
    second = reading.source.drop_database()
    reading.source.write("users")
    await reading.read(users, movies)
    assert [stream.start for stream in reading.source.streams][1:] == [
        StartAfter(first),
        StartAfter(second),
    ]
    assert all(stream.is_closed for stream in reading.source.streams)
    assert _tokens(users) == reading.tokens("users")
    assert _tokens(movies) == reading.tokens("movies")


@virtual_time
async def test_a_position_at_an_invalidation_is_passed() -> None:
    """A reader that begins at an invalidation's token meets it once more and goes on after it."""
    reading = Reading()
    reading.source.write("users")
    invalidated = reading.source.drop_database()
    reading.source.write("users")
    users = reading.route("users", invalidated)
    await reading.read(users)
    assert [stream.start for stream in reading.source.streams] == [
        StartAt(invalidated.cluster_time),
        StartAfter(invalidated),
    ]
    assert _tokens(users) == reading.tokens("users", after=invalidated)


# --- failures ------------------------------------------------------------------------------------


@virtual_time
async def test_an_error_comes_after_the_replies_before_it() -> None:
    """What was read before a failure is handed out first."""
    reading = Reading()
    users = reading.route("users")
    for _ in range(2 * FIRST_BATCH_SIZE):
        reading.source.write("users")
    reading.source.reply_faults = Script(None, _AWAY)
    with pytest.raises(SourceUnavailableError):
        await reading.reader(users).run()
    assert _tokens(users) == reading.tokens("users")[:FIRST_BATCH_SIZE]
    assert reading.source.streams[0].is_closed
    await reading.read(users)
    assert _tokens(users) == reading.tokens("users")[FIRST_BATCH_SIZE:]


@pytest.mark.parametrize("error", [_AWAY, PositionLostError("rolled over")])
@virtual_time
async def test_an_opening_that_fails_ends_the_reader(error: SourceError) -> None:
    """A stream that can't be opened is the caller's to judge."""
    reading = Reading()
    users = reading.route("users")
    reading.source.open_faults = Script[SourceError](error)
    with pytest.raises(type(error)):
        await reading.reader(users).run()
    assert users.is_open


@virtual_time
async def test_a_lost_position_is_reported() -> None:
    """Where the oplog no longer reaches back, nothing is read and nothing skipped."""
    reading = Reading()
    users = reading.route("users")
    reading.source.write("users")
    reading.source.forget()
    reading.source.write("users")
    with pytest.raises(PositionLostError):
        await reading.reader(users).run()
    assert users.frontier == reading.beginning
    assert reading.observer.openings == []


@virtual_time
async def test_an_event_that_cannot_be_encoded_ends_its_route_alone() -> None:
    """Its collection stops before it, with the error; the others go on."""
    reading = Reading()
    users, movies = reading.route("users"), reading.route("movies")
    tokens = [reading.source.write(name) for name in ("users", "movies") * 3]

    class _Encode(Encoder):
        def encode(self, change: Mapping[str, object], collection: str, /) -> EncodedEvent:
            if self.token_of(change) == tokens[2]:
                raise EventUnencodableError("insert", "the test says so")
            return super().encode(change, collection)

    reader = reading.reader(users, movies, encode=_Encode(stream="cs"))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(reader.run)
        await trio.sleep(5)
        reader.stop()
    assert _tokens(users) == [tokens[0]]
    assert users.frontier == tokens[0]
    with pytest.raises(EventUnencodableError):
        await users.take(max_events=1, max_bytes=1)
    assert _tokens(movies) == reading.tokens("movies")
    assert list(reader.routes) == [movies]


# --- ends ----------------------------------------------------------------------------------------


@virtual_time
async def test_a_reader_without_open_routes_ends() -> None:
    """When its last route has ended, a reader ends too, and closes its stream."""
    reading = Reading()
    users, movies = reading.route("users"), reading.route("movies")
    reader = reading.reader(users, movies)
    ended = trio.Event()

    async def run() -> None:
        await reader.run()
        ended.set()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(run)
        await trio.sleep(5)
        users.close()
        await trio.sleep(5)
        assert not ended.is_set()
        assert list(reader.routes) == [movies]
        reading.source.write("users")  # for nobody
        movies.close()
    assert reading.source.streams[0].is_closed
    assert reading.observer.captures == {}


@virtual_time
async def test_a_route_that_closes_holds_up_nobody() -> None:
    """A reader that waits for one lane's room goes on for the others when that lane is dropped."""
    reading = Reading(budget_bytes=1)
    users, movies = reading.route("users"), reading.route("movies")
    for name in ("users", "users", "movies"):
        reading.source.write(name)
    reader = reading.reader(users, movies)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(reader.run)
        await trio.sleep(5)
        assert not movies._buffer
        users.close()
        await trio.sleep(5)
        assert _tokens(movies) == reading.tokens("movies")
        reader.stop()


@virtual_time
async def test_a_stopped_reader_ends_at_a_reply() -> None:
    """Told to stop, a reader hands out the reply in hand and ends; nothing is lost."""
    reading = Reading()
    users = reading.route("users")
    reader = reading.reader(users)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(reader.run)
        await trio.sleep(10)
        reading.source.write("users")
        reader.stop()
    assert reading.source.streams[0].is_closed
    (last,) = reading.tokens("users")
    assert users.frontier <= last
    await reading.read(users)
    assert users.frontier >= last
    assert _tokens(users) == [last]


@virtual_time
async def test_a_reader_stopped_before_it_began_reads_nothing() -> None:
    """Stopped early, a reader doesn't open a stream."""
    reading = Reading()
    reader = reading.reader(reading.route("users"))
    reader.stop()
    await reader.run()
    assert reading.source.streams == []


@pytest.mark.parametrize("at_s", [0.0, 0.0005, 0.001, 0.0015, 0.002, 0.0035, 0.3, 0.6])
@virtual_time
async def test_a_cancelled_reader_leaves_exact_frontiers(at_s: float) -> None:
    """Cancelled at any step, a reader closes its stream, and its successor goes on exactly."""
    reading = Reading(budget_bytes=40_000)
    users = reading.route("users")
    for _ in range(100):
        reading.source.write("users")
    got: list[ResumeToken] = []
    with trio.move_on_after(at_s):
        await reading.reader(users).run()
    assert all(stream.is_closed for stream in reading.source.streams)
    got += _tokens(users)
    reader = reading.reader(users)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(reader.run)
        while len(got) < 100:
            await trio.sleep(0.1)
            got += _tokens(users)
        reader.stop()
    assert got == reading.tokens("users")


# --- what is heard -------------------------------------------------------------------------------


@virtual_time
async def test_an_opening_is_heard_when_the_stream_has_answered() -> None:
    """Only a stream that gave a reply counts as open, and only for routes that are."""
    reading = Reading()
    users, movies = reading.route("users"), reading.route("movies")
    reading.source.reply_faults = Script(_AWAY)
    with pytest.raises(SourceUnavailableError):
        await reading.reader(users, movies).run()
    assert reading.observer.openings == []
    reader = reading.reader(users, movies)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(reader.run)
        await trio.sleep(0.1)  # the first reply is waited for
        movies.close()
        await trio.sleep(5)
        reader.stop()
    assert reading.observer.openings == [["users"]]
