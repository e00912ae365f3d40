"""What every source of changes does that capture relies on, fake or real."""

from __future__ import annotations

import re

import pytest
import trio
from tests.contract.sources import (
    SourceHarness,
    after_invalidate,
    opened,
    read_after,
    read_until_invalidated,
    resume_exactly,
    token_of,
)

from mnc.capture.ports import StartAt
from mnc.encode.event import Encoder
from mnc.errors import PositionLostError
from mnc.model import ClusterTime, ResumeToken

pytestmark = pytest.mark.usefixtures("deadline")

_TOKEN = re.compile(r"[0-9A-F]{18,}")


# --- reading -------------------------------------------------------------------------------------


async def test_now_is_after_all_that_was_committed(changes: SourceHarness) -> None:
    """Reading from `current_token` gives what is committed afterwards, and nothing before."""
    await changes.insert("users", 1)
    now = await changes.source.current_token()
    await changes.insert("users", 2)
    await changes.insert("users", 3)
    found = await read_after(changes.source, ["users"], now, count=2)
    assert [change["documentKey"] for change in found] == [{"_id": 2}, {"_id": 3}]


async def test_now_can_be_opened_at_once(changes: SourceHarness) -> None:
    """A stream opens at "now" though nothing has been committed since."""
    await changes.insert("users", 1)
    now = await changes.source.current_token()
    assert await read_after(changes.source, ["users"], now, count=0) == []


async def test_tokens_sort_as_events_were_committed(changes: SourceHarness) -> None:
    """Tokens are upper-case hexadecimal with a cluster time, unique, and rise with each event."""
    start = await changes.source.current_token()
    for number in range(5):
        await changes.insert("users", number)
        await changes.transact("users", "movies", "users")
    found = await read_after(changes.source, ["users", "movies"], start, count=20)
    tokens = [token_of(change) for change in found]
    assert tokens == sorted(set(tokens))
    assert all(_TOKEN.fullmatch(token.data) for token in tokens)
    assert all(token.cluster_time >= start.cluster_time for token in tokens)


async def test_events_are_what_the_encoder_takes(changes: SourceHarness) -> None:
    """A change has all that a message is made of: operation, collection, key, time and token."""
    start = await changes.source.current_token()
    await changes.insert("users", "a.b")
    (change,) = await read_after(changes.source, ["users"], start, count=1)
    encoded = Encoder(stream="cs").encode(change, "users")
    assert encoded.operation == "insert"
    assert encoded.subject.startswith("cs.users.insert.")
    assert encoded.token == token_of(change)
    assert abs(encoded.committed_at_s - start.cluster_time.seconds) < 60


async def test_a_transactions_events_share_a_cluster_time(changes: SourceHarness) -> None:
    """What one transaction wrote has one cluster time and as many tokens as events."""
    start = await changes.source.current_token()
    await changes.transact("users", "movies", "users")
    found = await read_after(changes.source, ["users", "movies"], start, count=3)
    tokens = [token_of(change) for change in found]
    assert len(set(tokens)) == 3
    assert len({token.cluster_time for token in tokens}) == 1


async def test_other_collections_are_filtered_out(changes: SourceHarness) -> None:
    """A stream gives the events of its collections alone."""
    start = await changes.source.current_token()
    await changes.insert("users", 1)
    await changes.insert("movies", 2)
    await changes.insert("users", 3)
    found = await read_after(changes.source, ["movies"], start, count=1)
    assert [change["documentKey"] for change in found] == [{"_id": 2}]


@pytest.mark.parametrize("watched", ["users", "people"])
async def test_a_rename_is_seen_from_both_its_names(changes: SourceHarness, watched: str) -> None:
    """A stream over the old name or the new one has the event, and goes on with its own writes."""
    start = await changes.source.current_token()
    await changes.insert("users", 1)
    await changes.rename("users", "people")
    await changes.insert(watched, 2)
    count = 3 if watched == "users" else 2
    found = await read_after(changes.source, [watched], start, count=count)
    assert [change["operationType"] for change in found[-2:]] == ["rename", "insert"]
    assert found[-1]["documentKey"] == {"_id": 2}
    tokens = [token_of(change) for change in found]
    assert tokens == sorted(tokens)


@pytest.mark.parametrize("batch_size", [1, 2, 3, 100])
async def test_a_reply_holds_at_most_the_batch_size(
    changes: SourceHarness, batch_size: int
) -> None:
    """Replies are bounded, reach to their last event at least, and lose nothing in between."""
    start = await changes.source.current_token()
    for number in range(7):
        await changes.insert("users", number)
    found: list[ResumeToken] = []
    async with opened(changes.source, ["users"], StartAt(start.cluster_time)) as stream:
        while len(found) < 7:
            reply = await stream.next_reply(batch_size=batch_size)
            assert len(reply.events) <= batch_size
            assert reply.size_bytes > 0
            found += [token_of(change) for change in reply.events]
            assert reply.token >= found[-1]
            assert not reply.invalidated
    assert len(found) == 7


async def test_a_quiet_stream_answers_with_nothing(changes: SourceHarness) -> None:
    """Without events a reply comes all the same, and its token doesn't go back."""
    start = await changes.source.current_token()
    await changes.insert("users", 1)
    async with opened(changes.source, ["users"], StartAt(start.cluster_time)) as stream:
        reply = await stream.next_reply(batch_size=10)
        before = reply.token
        while reply.events:
            reply = await stream.next_reply(batch_size=10)
    assert reply.token >= before


async def test_a_waiting_stream_hears_of_a_write(changes: SourceHarness) -> None:
    """An event that is committed while a reply is waited for comes with it or the next."""
    start = await changes.source.current_token()
    async with opened(changes.source, ["users"], StartAt(start.cluster_time)) as stream:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(changes.insert, "users", 1)
            reply = await stream.next_reply(batch_size=10)
        if not reply.events:
            reply = await stream.next_reply(batch_size=10)
    assert [change["documentKey"] for change in reply.events] == [{"_id": 1}]


# --- resuming ------------------------------------------------------------------------------------


async def test_reading_resumes_exactly_after_each_event(changes: SourceHarness) -> None:
    """From the cluster time of any event, skipping up to its token gives the exact rest."""
    start = await changes.source.current_token()
    for number in range(4):
        await changes.insert("users", number)
    found = await read_after(changes.source, ["users"], start, count=4)
    await resume_exactly(changes.source, ["users"], found)


async def test_reading_resumes_within_a_transaction(changes: SourceHarness) -> None:
    """A position between two events of one cluster time is exact too."""
    start = await changes.source.current_token()
    await changes.insert("users", 0)
    await changes.transact(*["users", "movies"] * 4)
    await changes.insert("users", 1)
    collections = ["users", "movies"]
    found = await read_after(changes.source, collections, start, count=10)
    assert len(found) == 10
    await resume_exactly(changes.source, collections, found)


async def test_reading_resumes_at_another_collections_event(changes: SourceHarness) -> None:
    """A position may be the token of an event that the stream's filter leaves out."""
    start = await changes.source.current_token()
    await changes.insert("movies", 1)
    await changes.insert("users", 2)
    await changes.transact("users", "movies", "users")
    everything = await read_after(changes.source, ["users", "movies"], start, count=5)
    for index, change in enumerate(everything):
        rest = [
            token_of(later)
            for later in everything[index + 1 :]
            if later["ns"] != change["ns"] and later["operationType"] == "insert"
        ]
        ns = change["ns"]
        assert isinstance(ns, dict)
        others = ["users" if ns["coll"] == "movies" else "movies"]
        found = await read_after(changes.source, others, token_of(change), count=len(rest))
        assert [token_of(later) for later in found] == rest


async def test_reading_resumes_at_a_replys_token(changes: SourceHarness) -> None:
    """The token of a reply without events is a position like any other."""
    start = await changes.source.current_token()
    await changes.insert("movies", 1)
    async with opened(changes.source, ["users"], StartAt(start.cluster_time)) as stream:
        reply = await stream.next_reply(batch_size=10)
    await changes.insert("users", 2)
    found = await read_after(changes.source, ["users"], reply.token, count=1)
    assert [change["documentKey"] for change in found] == [{"_id": 2}]


# --- ends ----------------------------------------------------------------------------------------


async def test_dropping_the_database_invalidates(changes: SourceHarness) -> None:
    """A dropped database ends every stream, after the last event before it."""
    start = await changes.source.current_token()
    await changes.insert("users", 1)
    await changes.drop_database()
    reply = await read_until_invalidated(changes.source, ["users"], StartAt(start.cluster_time))
    operations = [change["operationType"] for change in reply.events]
    assert operations[-2:] == ["dropDatabase", "invalidate"]
    assert reply.token == token_of(reply.events[-1])


async def test_reading_goes_on_after_an_invalidation(changes: SourceHarness) -> None:
    """Opened after the token of the invalidation, a stream gives what came after the drop."""
    start = await changes.source.current_token()
    await changes.insert("users", 1)
    await changes.drop_database()
    await changes.insert("users", 2)
    ended = await read_until_invalidated(changes.source, ["users"], StartAt(start.cluster_time))
    found = await read_after(
        changes.source, ["users"], ended.token, count=1, start=after_invalidate(ended)
    )
    assert [change["documentKey"] for change in found] == [{"_id": 2}]


async def test_an_invalidation_repeats_for_who_begins_before_it(changes: SourceHarness) -> None:
    """Opened at the invalidation's own cluster time, a stream meets it again, with the same token.

    So a reader whose position is that token finds its way past it after a restart.
    """
    start = await changes.source.current_token()
    await changes.insert("users", 1)
    await changes.drop_database()
    await changes.insert("users", 2)
    ended = await read_until_invalidated(changes.source, ["users"], StartAt(start.cluster_time))
    again = await read_until_invalidated(
        changes.source, ["users"], StartAt(ended.token.cluster_time)
    )
    assert again.token == ended.token


async def test_a_position_in_the_future_is_refused(changes: SourceHarness) -> None:
    """A position of another cluster, ahead of this one's clock, is an error and not a silence."""
    now = (await changes.source.current_token()).cluster_time
    with pytest.raises(PositionLostError):
        await changes.source.open(["users"], start=StartAt(ClusterTime(now.seconds + 3600, 1)))


# --- closing and cancellation --------------------------------------------------------------------


async def test_closing_twice_is_harmless(changes: SourceHarness) -> None:
    """`aclose` never raises, also on a stream that is closed or was invalidated."""
    start = await changes.source.current_token()
    await changes.insert("users", 1)
    await changes.drop_database()
    stream = await changes.source.open(["users"], start=StartAt(start.cluster_time))
    while not (await stream.next_reply(batch_size=100)).invalidated:
        pass
    await stream.aclose()
    await stream.aclose()


async def test_a_cancelled_read_loses_no_position(changes: SourceHarness) -> None:
    """What a cancelled `next_reply` had read comes again from the same position."""
    start = await changes.source.current_token()
    await changes.insert("users", 1)
    async with opened(changes.source, ["users"], StartAt(start.cluster_time)) as stream:
        with trio.move_on_after(0.0001):
            await stream.next_reply(batch_size=10)
            await trio.sleep_forever()
    found = await read_after(changes.source, ["users"], start, count=1)
    assert [change["documentKey"] for change in found] == [{"_id": 1}]


async def test_opening_can_be_cancelled(changes: SourceHarness) -> None:
    """A cancelled `open` or `current_token` leaves the source usable."""
    with trio.CancelScope() as scope:
        scope.cancel()
        await changes.source.current_token()
    assert scope.cancelled_caught
    now = await changes.source.current_token()
    with trio.CancelScope() as scope:
        scope.cancel()
        await changes.source.open(["users"], start=StartAt(now.cluster_time))
    assert scope.cancelled_caught
    assert await read_after(changes.source, ["users"], now, count=0) == []
