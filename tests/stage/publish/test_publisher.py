"""A publisher: every event into the stream, exactly once and in order, whatever the stream does."""

from __future__ import annotations

import random
from collections.abc import Sequence

import pytest
import trio
from tests.fakes.faults import Script
from tests.fakes.observer import RecordingObserver
from tests.fakes.payloads import STOPPING
from tests.fakes.stream import LOST_ACK, NEVER_STORED, FakeStream, PublishFault, stored_after
from tests.fakes.values import checkpoint, event, events
from tests.fakes.virtual_time import virtual_time
from trio.testing import wait_all_tasks_blocked

from mnc.errors import (
    DuplicateInBatchError,
    FenceLostError,
    OutcomeUnknownError,
    PayloadTooLargeError,
    SinkError,
    SinkRefusedError,
    SinkUnavailableError,
    StreamFullError,
    StreamMissingError,
)
from mnc.model import Checkpoint, EncodedEvent, Epoch, Position, StreamSeq
from mnc.publish.ports import Batch
from mnc.publish.publisher import Publisher
from mnc.publish.remedy import Remedies

_MARKER = "cs_position.users"
_ZERO = checkpoint(0, stream_seq=0)


async def _stream(*faults: PublishFault | None, duplicate_window_s: float = 120.0) -> FakeStream:
    stream = FakeStream(duplicate_window_s=duplicate_window_s)
    await stream.ensure()
    stream.publish_faults = Script[PublishFault](*faults)
    return stream


def _publisher(
    stream: FakeStream,
    *,
    reached: Checkpoint = _ZERO,
    observer: RecordingObserver | None = None,
    in_flight: trio.CapacityLimiter | None = None,
    epoch: int = 0,
    remedies: Remedies = STOPPING,
) -> Publisher:
    return Publisher(
        stream=stream,
        remedies=remedies,
        marker_subject=_MARKER,
        reached=reached,
        epoch=Epoch(epoch),
        in_flight=in_flight or trio.CapacityLimiter(1),
        observer=observer or RecordingObserver(),
        rng=random.Random(1),
    )


async def _rival_publishes(stream: FakeStream, batch: Sequence[EncodedEvent], fence: int) -> int:
    """Publish as another instance does."""
    return await stream.publish(
        Batch(
            events=batch,
            marker_subject=_MARKER,
            position=Position(token=batch[-1].token),
            expected_seq=StreamSeq(fence),
        )
    )


# --- going well ----------------------------------------------------------------------------------


@virtual_time
async def test_batches_follow_each_other_behind_their_fences() -> None:
    """Each acknowledgement is the next batch's fence, and moves what is reached."""
    stream, observer = await _stream(), RecordingObserver()
    publisher = _publisher(stream, observer=observer, epoch=4)
    await publisher.publish(events(1, 2))
    assert publisher.reached == checkpoint(2, stream_seq=3, epoch=4)
    await publisher.publish(events(3, 3))
    assert publisher.reached == checkpoint(3, stream_seq=5, epoch=4)
    assert publisher.reached == stream.marker(_MARKER)
    assert stream.events == events(1, 3)
    assert [batch.expected_seq for batch in observer.batches] == [0, 3]
    assert observer.retries == []


@virtual_time
async def test_publishing_goes_on_after_idle_progress() -> None:
    """A publisher whose position is ahead of its marker sends behind the marker's fence."""
    stream = await _stream()
    await _publisher(stream).publish(events(1, 2))
    publisher = _publisher(stream, reached=checkpoint(7, stream_seq=3))
    await publisher.publish(events(8, 9))
    assert stream.events == [*events(1, 2), *events(8, 9)]


# --- every fault ---------------------------------------------------------------------------------


@virtual_time
async def test_a_lost_acknowledgement_is_found_in_the_marker() -> None:
    """A batch that is stored without an answer is not sent again."""
    stream, observer = await _stream(LOST_ACK), RecordingObserver()
    publisher = _publisher(stream, observer=observer)
    await publisher.publish(events(1, 3))
    assert stream.events == events(1, 3)
    assert len(stream.batches) == 1
    assert publisher.reached == stream.marker(_MARKER)
    assert observer.recoveries == events(1, 3)
    assert [type(error) for error in observer.retries] == [OutcomeUnknownError]


@virtual_time
async def test_a_batch_that_never_arrives_is_sent_again() -> None:
    """An unchanged marker means that nothing is stored: the same goes behind the same fence."""
    stream, observer = await _stream(NEVER_STORED, NEVER_STORED), RecordingObserver()
    publisher = _publisher(stream, observer=observer)
    await publisher.publish(events(1, 3))
    assert stream.events == events(1, 3)
    assert [batch.expected_seq for batch in stream.batches][:3] == [0, 0, 0]
    assert observer.recoveries == []


@pytest.mark.parametrize("duplicate_window_s", [0.0, 120.0])
@pytest.mark.parametrize(
    "after_s",
    [0.5, 0.9995, 1.0, 1.0005, 1.001, 1.01, 1.02, 1.03, 1.05, 1.0505, 1.051, 1.06, 2.2, 5.0, 300.0],
)
@virtual_time
async def test_a_batch_that_is_stored_late_is_stored_once(
    after_s: float, duplicate_window_s: float
) -> None:
    """Whenever a batch lands that was given up, before, between or after the next steps.

    The stream has each event once, and the publisher goes on, with or without JetStream's own
    protection against duplicates.
    """
    stream = await _stream(stored_after(after_s), duplicate_window_s=duplicate_window_s)
    publisher = _publisher(stream)
    await publisher.publish(events(1, 3))
    await publisher.publish(events(4, 5))
    await trio.sleep(after_s)
    await publisher.publish(events(6, 6))
    assert stream.events == events(1, 6)
    assert publisher.reached == stream.marker(_MARKER)


@virtual_time
async def test_a_batch_that_lands_before_the_next_attempt_is_found() -> None:
    """An attempt that loses its fence to the publisher's own late batch is no reason to give up."""
    stream, observer = await _stream(stored_after(1.01), duplicate_window_s=0), RecordingObserver()
    publisher = _publisher(stream, observer=observer)
    await publisher.publish(events(1, 3))
    assert [type(error) for error in observer.retries] == [OutcomeUnknownError, FenceLostError]
    assert observer.recoveries == events(1, 3)
    assert stream.events == events(1, 3)


@virtual_time
async def test_several_late_batches_are_stored_once() -> None:
    """Of any number of attempts that are all under way, one is stored."""
    stream = await _stream(stored_after(5), stored_after(4), stored_after(3), duplicate_window_s=0)
    publisher = _publisher(stream)
    await publisher.publish(events(1, 3))
    await trio.sleep(10)
    await publisher.publish(events(4, 4))
    assert stream.events == events(1, 4)


@virtual_time
async def test_a_predecessors_late_batch_counts() -> None:
    """A batch of an earlier publisher lands while its successor sends more: the rest goes on.

    The earlier one was cancelled, so nobody waits for its answer.
    """
    stream = await _stream(stored_after(2.0), NEVER_STORED, duplicate_window_s=0)
    with trio.move_on_after(0.5):
        await _publisher(stream).publish(events(1, 2))
    observer = RecordingObserver()
    publisher = _publisher(stream, observer=observer)
    await trio.sleep(1)
    await publisher.publish(events(1, 5))
    assert stream.events == events(1, 5)
    assert observer.recoveries == events(1, 2)
    sent = [it.token for batch in observer.batches for it in batch.events]
    assert sent == [it.token for it in events(3, 5)]


@virtual_time
async def test_a_duplicate_is_told_from_a_loss_by_the_marker() -> None:
    """A rejected repeat of what is stored already is found in the marker."""
    stream, observer = await _stream(), RecordingObserver()
    await _rival_publishes(stream, events(1, 3), 0)  # an earlier attempt, as it were
    publisher = _publisher(stream, observer=observer)
    await publisher.publish(events(1, 5))
    assert stream.events == events(1, 5)
    assert observer.recoveries == events(1, 3)
    assert type(observer.retries[0]) is DuplicateInBatchError


@virtual_time
async def test_a_rivals_progress_stops_the_publisher() -> None:
    """Where another writer went beyond the batch, this one stands down and stores nothing."""
    stream = await _stream()
    await _rival_publishes(stream, events(1, 5), 0)
    publisher = _publisher(stream)
    with pytest.raises(FenceLostError):
        await publisher.publish(events(1, 3))
    assert publisher.reached == _ZERO
    assert stream.events == events(1, 5)


@virtual_time
async def test_a_rival_between_the_attempts_stops_the_publisher() -> None:
    """A writer that comes in after a lost batch is noticed by the next attempt's fence."""
    stream = await _stream(NEVER_STORED)
    publisher = _publisher(stream)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_rival_publishes_after, stream, 1.01)
        with pytest.raises(FenceLostError):
            await publisher.publish(events(1, 3))
    assert stream.events == events(1, 5)


async def _rival_publishes_after(stream: FakeStream, delay_s: float) -> None:
    await trio.sleep(delay_s)
    await _rival_publishes(stream, events(1, 5), 0)


@virtual_time
async def test_a_purged_stream_stops_the_publisher() -> None:
    """A marker that is gone is somebody's doing: the lane has to look for its position anew."""
    stream = await _stream()
    publisher = _publisher(stream)
    await publisher.publish(events(1, 3))
    stream.purge()
    with pytest.raises(FenceLostError):
        await publisher.publish(events(4, 5))
    assert stream.events == []


@virtual_time
async def test_a_deleted_stream_is_for_the_supervisor() -> None:
    """A stream that is gone ends the publisher: a new lane makes it again."""
    stream = await _stream()
    publisher = _publisher(stream)
    await publisher.publish(events(1, 3))
    stream.delete()
    with pytest.raises(StreamMissingError):
        await publisher.publish(events(4, 5))


@pytest.mark.parametrize(
    "refusal",
    [StreamFullError("full"), SinkRefusedError("no permission")],
    ids=lambda error: error.kind,
)
@virtual_time
async def test_a_refusal_is_for_the_supervisor(refusal: SinkError) -> None:
    """What trying again doesn't heal is not tried again here."""
    stream = await _stream(refusal)
    with pytest.raises(type(refusal)):
        await _publisher(stream).publish(events(1, 3))
    assert len(stream.batches) == 1


@pytest.mark.parametrize("before", range(10))
@virtual_time
async def test_an_event_over_the_limit_is_for_the_supervisor(before: int) -> None:
    """An event that the broker doesn't take ends the publisher, when those before it are stored."""
    stream = await _stream()
    large = event(before + 1, payload=b"." * 2_000_000)
    with pytest.raises(PayloadTooLargeError):
        await _publisher(stream).publish([*events(1, before), large, *events(20, 22)])
    assert stream.events == events(1, before)


@virtual_time
async def test_a_batch_too_large_for_a_slow_link_is_sent_in_smaller_ones() -> None:
    """Batches without an answer shrink until one gets through, and grow again after that."""
    stream = await _stream(NEVER_STORED, NEVER_STORED, NEVER_STORED)
    publisher = _publisher(stream)
    await publisher.publish(events(1, 80))
    assert [len(batch.events) for batch in stream.batches] == [80, 40, 20, 10, 20, 40, 10]
    assert stream.events == events(1, 80)


# --- outages -------------------------------------------------------------------------------------


@virtual_time
async def test_a_disconnect_is_waited_for() -> None:
    """However long the connection is away, events stay in hand and are stored when it is back.

    The outage is heard of.
    """
    stream, observer = await _stream(), RecordingObserver()
    publisher = _publisher(stream, observer=observer)
    stream.disconnect()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(publisher.publish, events(1, 3))
        await trio.sleep(3600)
        assert [type(error) for error in observer.retries] == [SinkUnavailableError]
        stream.connect()
    assert stream.events == events(1, 3)


@pytest.mark.parametrize("at_s", [0.0001, 0.0004, 0.0005, 0.0006, 0.0009, 0.0015, 0.06])
@virtual_time
async def test_a_disconnect_in_flight_is_recovered_exactly(at_s: float) -> None:
    """Whenever the connection breaks, before or after the batch is stored, each event is once."""
    stream = await _stream(duplicate_window_s=0)
    publisher = _publisher(stream)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(publisher.publish, events(1, 3))
        await trio.sleep(at_s)
        stream.disconnect()
        await trio.sleep(60)
        stream.connect()
    await publisher.publish(events(4, 4))
    assert stream.events == events(1, 4)


@virtual_time
async def test_the_marker_is_read_however_long_it_takes() -> None:
    """While JetStream has no leader the marker can't be read, and nothing is given up."""
    stream, observer = await _stream(LOST_ACK), RecordingObserver()
    stream.read_faults = Script(*[SinkUnavailableError("no leader")] * 50)
    await _publisher(stream, observer=observer).publish(events(1, 3))
    assert stream.events == events(1, 3)
    assert len(observer.retries) == 51


@virtual_time
async def test_attempts_with_a_live_connection_are_bounded() -> None:
    """A stream that neither stores nor refuses ends the publisher with its last error."""
    stream = await _stream(*[NEVER_STORED] * 100)
    publisher = _publisher(stream)
    with pytest.raises(OutcomeUnknownError):
        await publisher.publish(events(1, 3))
    assert len(stream.batches) == 8
    assert stream.events == []


@virtual_time
async def test_attempts_are_counted_from_the_last_success() -> None:
    """A link over which some of it gets through now and then is no reason to give up."""
    stream = await _stream(*[*[NEVER_STORED] * 7, None] * 2)
    await _publisher(stream).publish(events(1, 80))
    assert stream.events == events(1, 80)


# --- in flight -----------------------------------------------------------------------------------


@virtual_time
async def test_batches_in_flight_are_limited() -> None:
    """Of many publishers no more than the limiter allows have a batch in flight."""
    stream = await _stream()
    limiter = trio.CapacityLimiter(2)
    async with trio.open_nursery() as nursery:
        for number in range(10):
            publisher = Publisher(
                stream=stream,
                remedies=STOPPING,
                marker_subject=f"cs_position.{number}",
                reached=_ZERO,
                epoch=Epoch(0),
                in_flight=limiter,
                observer=RecordingObserver(),
                rng=random.Random(1),
            )
            nursery.start_soon(publisher.publish, [event(number)])
            await wait_all_tasks_blocked()
        assert limiter.borrowed_tokens == 2
        assert len(stream.batches) == 2
    assert len(stream.events) == 10
    assert limiter.borrowed_tokens == 0


@virtual_time
async def test_nobody_holds_a_place_while_disconnected_or_backing_off() -> None:
    """A publisher that waits leaves its place in flight to others."""
    stream = await _stream()
    limiter = trio.CapacityLimiter(1)
    stream.disconnect()
    with trio.move_on_after(10):
        await _publisher(stream, in_flight=limiter).publish(events(1, 3))
    assert limiter.borrowed_tokens == 0
    stream.connect()
    stream.publish_faults = Script(*[SinkUnavailableError("busy")] * 8)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_publisher(stream, in_flight=limiter).publish, events(1, 3))
        await trio.sleep(0.02)
        assert limiter.borrowed_tokens == 0
        stream.publish_faults = Script()


@pytest.mark.parametrize("at_s", [0.0, 0.0004, 0.0006, 0.5, 1.0004, 1.02, 1.06])
@virtual_time
async def test_a_cancelled_publish_is_found_out_by_a_new_publisher(at_s: float) -> None:
    """Cancelled at any step, a publisher leaves a stream that its successor completes exactly."""
    stream = await _stream(NEVER_STORED, duplicate_window_s=0)
    limiter = trio.CapacityLimiter(1)
    with trio.move_on_after(at_s):
        await _publisher(stream, in_flight=limiter).publish(events(1, 3))
    assert limiter.borrowed_tokens == 0
    marker = await stream.read_marker(_MARKER)
    reached = marker or _ZERO
    rest = [it for it in events(1, 5) if it.token > reached.position.token]
    await _publisher(stream, reached=reached, in_flight=limiter).publish(rest)
    assert stream.events == events(1, 5)


@pytest.mark.parametrize("seed", range(50))
@virtual_time
async def test_any_row_of_faults_leaves_an_exact_stream(seed: int) -> None:
    """Random faults on every call: the events are stored once, in order, or a new one goes on."""
    rng = random.Random(seed)
    stream = await _stream(duplicate_window_s=rng.choice([0.0, 2.0, 120.0]))
    kinds: list[PublishFault | None] = [
        None,
        None,
        LOST_ACK,
        NEVER_STORED,
        stored_after(rng.uniform(0.5, 5)),
        SinkUnavailableError("busy"),
    ]
    stream.publish_faults = lambda: rng.choice(kinds)
    stream.read_faults = lambda: rng.choice([None, SinkUnavailableError("no leader")])
    committed = events(1, 60)
    while len(stream.events) < len(committed):
        try:
            marker = await stream.read_marker(_MARKER)
        except SinkUnavailableError:
            continue
        publisher = _publisher(stream, reached=marker or _ZERO)
        with trio.move_on_after(rng.uniform(0, 30)):
            try:
                while rest := [
                    it for it in committed if it.token > publisher.reached.position.token
                ]:
                    await publisher.publish(rest[: rng.randint(1, 9)])
            except SinkError:
                continue
    assert stream.events == committed
