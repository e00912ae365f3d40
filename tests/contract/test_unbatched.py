"""What publishing relies on where the stream takes no atomic batches."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace

import pytest
import trio
from tests.contract.conftest import Connect
from tests.contract.streams import JetStreamHarness
from tests.contract.unbatched import batch_of, marker_of, numbered, numbers_of, reached_at

from mnc.drivers.nats.chained import ChainedWriter
from mnc.drivers.nats.mode import Mode
from mnc.drivers.nats.session import NatsSession
from mnc.drivers.nats.stream import JetStream
from mnc.drivers.nats.stream_api import StreamApi
from mnc.encode.dead_letter import dead_letter
from mnc.errors import (
    DuplicateInBatchError,
    FenceLostError,
    PayloadTooLargeError,
    SinkError,
    SinkRefusedError,
    StreamFullError,
)
from mnc.publish.publisher import MAX_BATCH_EVENTS

pytestmark = pytest.mark.usefixtures("deadline")

_TYPE_BITS = b"\x82\xc0\x1e"


# --- choosing ------------------------------------------------------------------------------------


async def test_an_old_server_is_published_to_in_chains(old: JetStreamHarness) -> None:
    """A server without atomic batches makes a stream without markers, and gets chains."""
    await old.port.ensure()
    assert old.port.mode is Mode.CHAINED
    info = await old.ask("STREAM.INFO")
    config = info["config"]
    assert isinstance(config, dict)
    assert config["subjects"] == [f"{old.name}.*.*.*", f"{old.name}_deadletter.*"]


async def test_an_old_servers_stream_stays_as_it_is(old: JetStreamHarness) -> None:
    """A stream that takes events and dead letters lacks nothing, so nothing of it is changed."""
    subjects = [f"{old.name}.>", f"{old.name}_deadletter.>"]
    await old.ask("STREAM.CREATE", {"name": old.name, "subjects": subjects})
    before = await old.ask("STREAM.INFO")
    await old.port.ensure()
    after = await old.ask("STREAM.INFO")
    assert before["config"] == after["config"]
    assert await old.port.publish(batch_of(old, 1, 2)) == 2


async def test_a_dead_letter_is_a_position_too(old: JetStreamHarness) -> None:
    """Whoever acquires a collection whose last event is a dead letter begins behind it."""
    await old.port.ensure()
    await old.port.publish(batch_of(old, 1))
    poison = batch_of(old, 2, fence=1)
    poisoned = dead_letter(poison.events[0], SinkRefusedError("poison"))
    assert await old.port.publish(replace(poison, events=(poisoned,))) == 2
    assert await old.port.read_position(marker_of(old)) == reached_at(2, 2)
    assert await old.port.publish(batch_of(old, 3, fence=2)) == 3


async def test_a_dead_letter_without_a_place_is_refused(unchangeable: JetStreamHarness) -> None:
    """A stream that takes no dead letters, and may not be changed, says so and what is due."""
    await unchangeable.port.ensure()
    poison = batch_of(unchangeable, 1)
    poisoned = dead_letter(poison.events[0], SinkRefusedError("too strange"))
    with pytest.raises(SinkRefusedError, match="too strange") as caught:
        await unchangeable.port.publish(replace(poison, events=(poisoned,)))
    assert f"{unchangeable.name}_deadletter.*" in caught.value.remedy


async def test_a_stream_that_may_not_be_changed_gets_chains(unchangeable: JetStreamHarness) -> None:
    """Who may not add what batches need publishes without them into what is there."""
    await unchangeable.port.ensure()
    assert unchangeable.port.mode is Mode.CHAINED


async def test_a_stream_that_takes_no_events_is_refused(
    unchangeable: JetStreamHarness,
) -> None:
    """Without the events' subject and the right to add it, the command that adds it is named."""
    await unchangeable.amend({"subjects": ["other.>"]})
    with pytest.raises(SinkRefusedError) as caught:
        await unchangeable.port.ensure()
    assert f"nats stream edit {unchangeable.name} --subjects 'other.>," in caught.value.remedy


async def test_fencing_can_be_required(unready: JetStreamHarness, connect: Connect) -> None:
    """With NATS_REQUIRE_FENCING such a stream is refused, and what would make it do is named."""
    port = await connect(unready.port_url, unready.name, require_fencing=True)
    with pytest.raises(SinkRefusedError) as caught:
        await port.ensure()
    assert "nats-server 2.12" in caught.value.remedy or "--allow-batch" in caught.value.remedy
    assert port.mode is None


# --- storing -------------------------------------------------------------------------------------


async def test_events_are_stored_in_order_without_a_marker(unbatched: JetStreamHarness) -> None:
    """Events keep their order; the last one's sequence is the fence, and its token the position."""
    seq = await unbatched.port.publish(batch_of(unbatched, 1, 2, 3, type_bits=_TYPE_BITS))
    assert await numbers_of(unbatched) == [1, 2, 3]
    assert seq == len(await unbatched.stored()) == 3
    position = await unbatched.port.read_marker(marker_of(unbatched))
    assert position == reached_at(3, 3)
    assert position.position.token.type_bits == _TYPE_BITS  # which comparing tokens ignores
    assert await unbatched.port.read_position(marker_of(unbatched)) == position


async def test_a_batch_without_events_stores_nothing(unbatched: JetStreamHarness) -> None:
    """A first position needs no message: the fence stays where it was."""
    batch = replace(batch_of(unbatched, 1), events=())
    assert await unbatched.port.publish(batch) == 0
    assert await unbatched.stored() == []
    assert await unbatched.port.read_position(marker_of(unbatched)) is None


async def test_a_batch_of_the_largest_size_is_stored(unbatched: JetStreamHarness) -> None:
    """As many events as a publisher ever sends fit in one batch."""
    numbers = range(1, MAX_BATCH_EVENTS + 1)
    assert await unbatched.port.publish(batch_of(unbatched, *numbers)) == MAX_BATCH_EVENTS
    assert await numbers_of(unbatched) == list(numbers)


async def test_an_event_over_the_limit_stores_nothing(unbatched: JetStreamHarness) -> None:
    """An event over the broker's limit is refused before anything is sent, with its whole batch."""
    batch = batch_of(unbatched, 1, 2)
    large = batch.events[1]._replace(payload=b"." * 1024 * 1024)
    with pytest.raises(PayloadTooLargeError):
        await unbatched.port.publish(replace(batch, events=[batch.events[0], large]))
    assert await unbatched.stored() == []


# --- fences --------------------------------------------------------------------------------------


@pytest.mark.parametrize("fence", [0, 1, 3, 99])
async def test_a_stale_fence_stores_nothing(unbatched: JetStreamHarness, fence: int) -> None:
    """Only the sequence of the collection's last event lets a batch in, whoever asks."""
    assert await unbatched.port.publish(batch_of(unbatched, 1, 2)) == 2
    with pytest.raises(FenceLostError):
        await unbatched.port.publish(batch_of(unbatched, 3, fence=fence))
    assert await numbers_of(unbatched) == [1, 2]


async def test_a_writer_that_others_have_passed_stores_nothing(
    unbatched: JetStreamHarness, connect: Connect
) -> None:
    """What a writer knows from its last answer is worth nothing after another writer's event."""
    other = await connect(unbatched.port_url, unbatched.name)
    await other.ensure()
    fence = await unbatched.port.publish(batch_of(unbatched, 1, 2))
    await other.publish(batch_of(unbatched, 3, fence=fence))
    with pytest.raises(FenceLostError):
        await unbatched.port.publish(batch_of(unbatched, 4, 5, fence=fence))
    assert await numbers_of(unbatched) == [1, 2, 3]


async def test_a_beginning_that_another_writer_stored_counts(
    unbatched: JetStreamHarness, connect: Connect
) -> None:
    """Events that stand in their place already, as from a copy of a batch, are gone on after."""
    other = await connect(unbatched.port_url, unbatched.name)
    await other.ensure()
    fence = await unbatched.port.publish(batch_of(unbatched, 1, 2))
    await other.publish(batch_of(unbatched, 3, fence=fence))
    assert await unbatched.port.publish(batch_of(unbatched, 3, 4, fence=fence)) == 4
    assert await numbers_of(unbatched) == [1, 2, 3, 4]


async def test_a_fence_that_was_read_counts_more_than_what_is_remembered(
    unbatched: JetStreamHarness, connect: Connect
) -> None:
    """A writer that has read where another one has come to goes on from there."""
    other = await connect(unbatched.port_url, unbatched.name)
    await other.ensure()
    fence = await unbatched.port.publish(batch_of(unbatched, 1, 2))
    await other.publish(batch_of(unbatched, 3, fence=fence))
    assert await unbatched.port.read_position(marker_of(unbatched)) == reached_at(3, 3)
    assert await unbatched.port.publish(batch_of(unbatched, 4, 5, fence=3)) == 5
    assert await numbers_of(unbatched) == [1, 2, 3, 4, 5]


async def test_collections_have_fences_of_their_own(
    unbatched: JetStreamHarness, connect: Connect
) -> None:
    """Events of another collection, from any writer, leave a collection's fence as it was."""
    other = await connect(unbatched.port_url, unbatched.name)
    await other.ensure()
    users = await unbatched.port.publish(batch_of(unbatched, 1))
    movies = await unbatched.port.publish(batch_of(unbatched, 2, collection="movies"))
    await other.publish(batch_of(unbatched, 3, 4, collection="movies", fence=movies))
    await unbatched.port.publish(batch_of(unbatched, 5, 6, fence=users))
    assert await numbers_of(unbatched) == [1, 2, 3, 4, 5, 6]


async def test_racing_writers_leave_a_row_of_events(
    unbatched: JetStreamHarness, connect: Connect
) -> None:
    """Whatever two writers send at once from where the stream is, it holds each event in its turn.

    The stream soon forgets message ids.
    """
    await unbatched.amend({"duplicate_window": 10**8})
    last = 400

    async def write(port: JetStream, size: int) -> None:
        while True:
            position = await port.read_position(marker_of(unbatched))
            reached, fence = (0, 0) if position is None else numbered(position)
            if reached == last:
                return
            numbers = range(reached + 1, min(reached + size, last) + 1)
            with suppress(SinkError):
                await port.publish(batch_of(unbatched, *numbers, fence=fence))

    async with trio.open_nursery() as nursery:
        for size in (7, 20):
            port = await connect(unbatched.port_url, unbatched.name)
            await port.ensure()
            nursery.start_soon(write, port, size)
    assert await numbers_of(unbatched) == list(range(1, last + 1))


async def test_a_purged_stream_wants_fence_zero(
    unbatched: JetStreamHarness, connect: Connect
) -> None:
    """Without its messages a stream has no position: the old fence is stale, 0 is right."""
    fence = await unbatched.port.publish(batch_of(unbatched, 1))
    await unbatched.purge()
    assert await unbatched.port.read_marker(marker_of(unbatched)) is None
    other = await connect(unbatched.port_url, unbatched.name)
    await other.ensure()
    with pytest.raises(FenceLostError):
        await other.publish(batch_of(unbatched, 2, fence=fence))
    assert await other.publish(batch_of(unbatched, 2)) > fence


# --- refusals ------------------------------------------------------------------------------------


async def test_what_precedes_a_duplicate_is_stored(unbatched: JetStreamHarness) -> None:
    """A message id that the stream knows lets nothing behind it in, and the position says so."""
    fence = await unbatched.port.publish(batch_of(unbatched, 1, 2))
    with pytest.raises((DuplicateInBatchError, FenceLostError)):
        await unbatched.port.publish(batch_of(unbatched, 3, 2, 4, fence=fence))
    assert await numbers_of(unbatched) == [1, 2, 3]
    assert await unbatched.port.read_marker(marker_of(unbatched)) == reached_at(3, 3)
    assert await unbatched.port.publish(batch_of(unbatched, 4, fence=3)) == 4


async def test_a_repeated_batch_is_refused(unbatched: JetStreamHarness) -> None:
    """The same batch again is stale, and nothing of it is stored."""
    await unbatched.port.publish(batch_of(unbatched, 1, 2))
    with pytest.raises((DuplicateInBatchError, FenceLostError)):
        await unbatched.port.publish(batch_of(unbatched, 1, 2))
    assert await numbers_of(unbatched) == [1, 2]


async def test_a_refusal_within_a_batch_comes_to_light(old: JetStreamHarness) -> None:
    """What stands before the event that the stream refuses is stored; then the cause is said."""
    await old.port.ensure()
    await old.limit(3)
    with pytest.raises(FenceLostError):
        await old.port.publish(batch_of(old, 1, 2, 3, 4, 5))
    assert await old.port.read_marker(marker_of(old)) == reached_at(3, 3)
    with pytest.raises(StreamFullError):
        await old.port.publish(batch_of(old, 4, 5, fence=3))
    await old.limit(-1)
    assert await old.port.publish(batch_of(old, 4, 5, fence=3)) == 5


# --- one message at a time -----------------------------------------------------------------------


async def test_single_messages_make_the_same_row(
    jetstream: JetStreamHarness, nats_session: NatsSession
) -> None:
    """With one message in flight a batch is stored in order, up to what the stream has already."""
    await jetstream.ask(
        "STREAM.CREATE", {"name": jetstream.name, "subjects": [f"{jetstream.name}.>"]}
    )
    api = StreamApi(nats_session, stream=jetstream.name, timeout_s=5)
    writer = ChainedWriter(api, window=1)
    assert await writer.publish(batch_of(jetstream, 1, 2, 3)) == 3
    with pytest.raises(DuplicateInBatchError):
        await writer.publish(batch_of(jetstream, 4, 2, 5, fence=3))
    assert await writer.read_position(marker_of(jetstream)) == reached_at(4, 4)
    with pytest.raises(FenceLostError):
        await writer.publish(batch_of(jetstream, 5, fence=3))
    assert await writer.publish(batch_of(jetstream, 5, 6, fence=4)) == 6
    assert await numbers_of(jetstream) == [1, 2, 3, 4, 5, 6]


# --- spoilt messages -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "payload", [b"", b"hello", b"{}", b"[]", b'{"_id":1}', b'{"_id":{"_data":"8"}}']
)
async def test_a_foreign_event_is_refused(old: JetStreamHarness, payload: bytes) -> None:
    """Whatever a person puts on an event's subject, no position is guessed from it."""
    await old.port.ensure()
    await old.port.publish(
        replace(
            batch_of(old, 1),
            events=[batch_of(old, 1).events[0]._replace(payload=payload)],
        )
    )
    with pytest.raises(SinkRefusedError) as caught:
        await old.port.read_marker(marker_of(old))
    assert f"{old.name}.users.insert" in str(caught.value)


# --- cancellation --------------------------------------------------------------------------------


@pytest.mark.parametrize("steps", range(0, 30, 3))
async def test_a_cancelled_publish_leaves_a_beginning(old: JetStreamHarness, steps: int) -> None:
    """Cancelled at any step, a batch leaves the port usable, and its beginning in the stream."""
    await old.port.ensure()
    with trio.CancelScope() as scope:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(old.port.publish, batch_of(old, 1, 2, 3))
            for _ in range(steps):
                await trio.lowlevel.checkpoint()
            scope.cancel()
    while True:  # it may land between the look and the next batch
        position = await old.port.read_marker(marker_of(old))
        reached, fence = (0, 0) if position is None else numbered(position)
        try:
            await old.port.publish(batch_of(old, *range(reached + 1, 5), fence=fence))
        except FenceLostError:
            continue
        break
    assert await numbers_of(old) == [1, 2, 3, 4]
