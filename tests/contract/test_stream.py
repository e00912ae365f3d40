"""What every stream does that publishing relies on, fake or real."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import trio
from tests.contract.streams import StreamHarness
from tests.fakes.values import event, token

from mnc.errors import (
    DuplicateInBatchError,
    FenceLostError,
    PayloadTooLargeError,
    SinkUnavailableError,
    StreamFullError,
    StreamMissingError,
)
from mnc.model import Checkpoint, Epoch, Position, ResumeToken, StreamSeq
from mnc.publish.ports import Batch
from mnc.publish.publisher import MAX_BATCH_EVENTS

pytestmark = pytest.mark.usefixtures("deadline")

_TYPE_BITS = b"\x82\xc0\x1e"
_BROKER_MAX_PAYLOAD_BYTES = 1024 * 1024


def _batch(
    harness: StreamHarness,
    *numbers: int,
    fence: int = 0,
    collection: str = "users",
    payload: bytes = b"{}",
) -> Batch:
    events = [event(number, payload=payload, stream=harness.name) for number in numbers]
    return Batch(
        events=events,
        marker_subject=_marker(harness, collection),
        position=Position(token=events[-1].token),
        expected_seq=StreamSeq(fence),
    )


def _marker(harness: StreamHarness, collection: str = "users") -> str:
    return f"{harness.name}_position.{collection}"


async def _ids(harness: StreamHarness) -> Sequence[str]:
    return [stored.message_id for stored in await harness.stored() if stored.message_id]


def _ids_of(*numbers: int) -> Sequence[str]:
    return [token(number).data for number in numbers]


# --- making it -----------------------------------------------------------------------------------


async def test_a_stream_that_is_missing_says_so(harness: StreamHarness) -> None:
    """Reading a marker tells a missing stream from a missing marker; publishing stores nothing."""
    with pytest.raises(StreamMissingError):
        await harness.port.read_marker(_marker(harness))
    with pytest.raises(SinkUnavailableError):
        await harness.port.publish(_batch(harness, 1))


async def test_a_new_stream_is_empty(harness: StreamHarness) -> None:
    """A stream that `ensure` made holds nothing, and no marker."""
    await harness.port.ensure()
    assert await harness.stored() == []
    assert await harness.port.read_marker(_marker(harness)) is None


async def test_ensure_keeps_what_is_there(harness: StreamHarness) -> None:
    """Making sure of a stream that exists changes nothing in it."""
    await harness.port.ensure()
    await harness.port.publish(_batch(harness, 1, 2))
    before = await harness.stored()
    await harness.port.ensure()
    assert await harness.stored() == before


async def test_a_stream_that_was_deleted_is_made_anew(harness: StreamHarness) -> None:
    """After a deletion `ensure` gives an empty stream, whose first batch needs fence 0."""
    await harness.port.ensure()
    await harness.port.publish(_batch(harness, 1))
    await harness.delete()
    with pytest.raises(StreamMissingError):
        await harness.port.read_marker(_marker(harness))
    await harness.port.ensure()
    assert await harness.port.publish(_batch(harness, 1)) == 2
    assert await _ids(harness) == _ids_of(1)


# --- storing -------------------------------------------------------------------------------------


async def test_a_batch_is_stored_in_order_with_its_marker_last(harness: StreamHarness) -> None:
    """Events keep their order, subjects, ids and payloads; the marker stands behind them."""
    await harness.port.ensure()
    seq = await harness.port.publish(_batch(harness, 1, 2, 3, payload=b'{"a":1}'))
    stored = await harness.stored()
    assert [(it.subject, it.message_id, it.payload) for it in stored[:-1]] == [
        (f"{harness.name}.users.insert.{number}", token(number).data, b'{"a":1}')
        for number in (1, 2, 3)
    ]
    assert (stored[-1].subject, stored[-1].message_id) == (_marker(harness), None)
    assert [it.stream_seq for it in stored] == [1, 2, 3, 4]
    assert seq == 4


async def test_the_marker_says_the_position(harness: StreamHarness) -> None:
    """What a marker reads as is the batch's position, whole, and the marker's own sequence."""
    await harness.port.ensure()
    position = Position(token=ResumeToken(token(2).data, _TYPE_BITS), epoch=Epoch(7))
    batch = Batch(
        events=_batch(harness, 1, 2).events,
        marker_subject=_marker(harness),
        position=position,
        expected_seq=StreamSeq(0),
    )
    seq = await harness.port.publish(batch)
    marker = await harness.port.read_marker(_marker(harness))
    assert marker == Checkpoint(position=position, stream_seq=seq)
    assert marker.position.token.type_bits == _TYPE_BITS  # which comparing tokens ignores


async def test_a_batch_without_events_puts_the_marker_there(harness: StreamHarness) -> None:
    """A first position stands in the stream before any event, as a marker like any other."""
    await harness.port.ensure()
    position = Position(token=ResumeToken(token(1).data, _TYPE_BITS), epoch=Epoch(7))
    first = Batch(
        events=(),
        marker_subject=_marker(harness),
        position=position,
        expected_seq=StreamSeq(0),
    )
    seq = await harness.port.publish(first)
    assert [it.subject for it in await harness.stored()] == [_marker(harness)]
    assert await harness.port.read_marker(_marker(harness)) == Checkpoint(
        position=position, stream_seq=seq
    )
    with pytest.raises(FenceLostError):
        await harness.port.publish(first)
    assert await harness.port.publish(_batch(harness, 2, fence=seq)) == seq + 2


async def test_one_marker_a_collection_stays(harness: StreamHarness) -> None:
    """Each batch replaces its collection's marker, so that markers don't add up."""
    await harness.port.ensure()
    fence = 0
    for number in (1, 2, 3):
        fence = await harness.port.publish(_batch(harness, number, fence=fence))
    await harness.port.publish(_batch(harness, 4, collection="movies"))
    markers = [it.subject for it in await harness.stored() if it.message_id is None]
    assert markers == [_marker(harness), _marker(harness, "movies")]


async def test_a_batch_of_the_largest_size_is_stored(harness: StreamHarness) -> None:
    """As many events as a publisher ever sends fit in one batch."""
    await harness.port.ensure()
    numbers = range(1, MAX_BATCH_EVENTS + 1)
    assert await harness.port.publish(_batch(harness, *numbers)) == MAX_BATCH_EVENTS + 1
    assert await _ids(harness) == _ids_of(*numbers)


# --- fences --------------------------------------------------------------------------------------


@pytest.mark.parametrize("fence", [0, 1, 4, 99])
async def test_a_stale_fence_stores_nothing(harness: StreamHarness, fence: int) -> None:
    """Only the marker's very sequence lets a batch in; any other leaves the stream as it was."""
    await harness.port.ensure()
    await harness.port.publish(_batch(harness, 1, 2))  # the marker has sequence 3
    with pytest.raises(FenceLostError):
        await harness.port.publish(_batch(harness, 3, 4, fence=fence))
    assert await _ids(harness) == _ids_of(1, 2)
    assert await harness.port.publish(_batch(harness, 3, 4, fence=3)) == 6


async def test_a_fence_without_a_marker_stores_nothing(harness: StreamHarness) -> None:
    """A fence other than 0 is stale as long as there is no marker."""
    await harness.port.ensure()
    with pytest.raises(FenceLostError):
        await harness.port.publish(_batch(harness, 1, fence=1))
    assert await harness.stored() == []


async def test_collections_have_fences_of_their_own(harness: StreamHarness) -> None:
    """A batch of one collection leaves the fence of another as it was."""
    await harness.port.ensure()
    users = await harness.port.publish(_batch(harness, 1))
    await harness.port.publish(_batch(harness, 2, collection="movies"))
    await harness.port.publish(_batch(harness, 3, fence=users))
    assert await _ids(harness) == _ids_of(1, 2, 3)


async def test_of_racing_writers_one_wins(harness: StreamHarness) -> None:
    """Of batches that are sent at once behind one fence, exactly one is stored, as a whole."""
    await harness.port.ensure()
    winners: list[int] = []

    async def race(writer: int) -> None:
        numbers = range(writer * 10 + 1, writer * 10 + 6)
        try:
            await harness.port.publish(_batch(harness, *numbers))
        except FenceLostError:
            return
        winners.append(writer)

    async with trio.open_nursery() as nursery:
        for writer in range(8):
            nursery.start_soon(race, writer)
    (winner,) = winners
    numbers = range(winner * 10 + 1, winner * 10 + 6)
    assert await _ids(harness) == _ids_of(*numbers)


async def test_a_purged_stream_wants_fence_zero(harness: StreamHarness) -> None:
    """Without its messages a stream has no marker: the old fence is stale, 0 is right."""
    await harness.port.ensure()
    fence = await harness.port.publish(_batch(harness, 1))
    await harness.purge()
    assert await harness.port.read_marker(_marker(harness)) is None
    with pytest.raises(FenceLostError):
        await harness.port.publish(_batch(harness, 2, fence=fence))
    assert await harness.port.publish(_batch(harness, 2)) > fence


# --- refusals ------------------------------------------------------------------------------------


@pytest.mark.parametrize("numbers", [(2, 3, 4), (3, 2, 4), (3, 4, 2)])
async def test_one_duplicate_keeps_the_whole_batch_out(
    harness: StreamHarness, numbers: tuple[int, ...]
) -> None:
    """A message id that the stream knows, wherever it stands, rejects the batch as a whole."""
    await harness.port.ensure()
    fence = await harness.port.publish(_batch(harness, 1, 2))
    with pytest.raises(DuplicateInBatchError):
        await harness.port.publish(_batch(harness, *numbers, fence=fence))
    assert await _ids(harness) == _ids_of(1, 2)
    assert await harness.port.publish(_batch(harness, 3, 4, fence=fence)) == 6


async def test_a_repeated_batch_is_refused(harness: StreamHarness) -> None:
    """The same batch again is stale and a duplicate; either way nothing is stored."""
    await harness.port.ensure()
    await harness.port.publish(_batch(harness, 1, 2))
    with pytest.raises((DuplicateInBatchError, FenceLostError)):
        await harness.port.publish(_batch(harness, 1, 2))
    assert await _ids(harness) == _ids_of(1, 2)


async def test_a_full_stream_stores_nothing(harness: StreamHarness) -> None:
    """A batch that doesn't fit is refused as a whole, and nothing makes room for it."""
    await harness.port.ensure()
    fence = await harness.port.publish(_batch(harness, 1, 2))
    await harness.limit(5)
    with pytest.raises(StreamFullError):
        await harness.port.publish(_batch(harness, *range(3, 9), fence=fence))
    assert await _ids(harness) == _ids_of(1, 2)


async def test_a_payload_over_the_limit_stores_nothing(harness: StreamHarness) -> None:
    """An event over the broker's limit is refused before anything is sent, with its whole batch."""
    await harness.port.ensure()
    too_large = b"." * (_BROKER_MAX_PAYLOAD_BYTES + 1)
    batch = _batch(harness, 2, payload=too_large)
    batch = Batch(
        events=[*_batch(harness, 1).events, *batch.events],
        marker_subject=batch.marker_subject,
        position=batch.position,
        expected_seq=batch.expected_seq,
    )
    with pytest.raises(PayloadTooLargeError):
        await harness.port.publish(batch)
    assert await harness.stored() == []
    assert await harness.port.publish(_batch(harness, 1)) == 2


# --- cancellation --------------------------------------------------------------------------------


@pytest.mark.parametrize("steps", range(6))
async def test_a_cancelled_publish_is_stored_whole_or_not_at_all(
    harness: StreamHarness, steps: int
) -> None:
    """Cancelled at any step, a batch leaves the port usable, and the marker says what became of it.

    The next batch behind the fence that the marker shows is stored.
    """
    await harness.port.ensure()
    with trio.CancelScope() as scope:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(harness.port.publish, _batch(harness, 1, 2))
            for _ in range(steps):
                await trio.lowlevel.checkpoint()
            scope.cancel()
    fence = None
    while fence is None:  # it may land between the look and the next batch
        marker = await harness.port.read_marker(_marker(harness))
        try:
            fence = await harness.port.publish(
                _batch(harness, 3, fence=0 if marker is None else marker.stream_seq)
            )
        except FenceLostError:
            continue
    assert await _ids(harness) in (
        _ids_of(3),
        _ids_of(1, 2, 3),
    )


async def test_reading_and_making_can_be_cancelled(harness: StreamHarness) -> None:
    """A cancelled `read_marker`, `ensure` or `wait_connected` leaves the port usable."""
    with trio.CancelScope() as scope:
        scope.cancel()
        await harness.port.wait_connected()
    with trio.CancelScope() as scope:
        scope.cancel()
        await harness.port.ensure()
    await harness.port.ensure()
    with trio.CancelScope() as scope:
        scope.cancel()
        await harness.port.read_marker(_marker(harness))
    assert scope.cancelled_caught
    assert await harness.port.read_marker(_marker(harness)) is None
