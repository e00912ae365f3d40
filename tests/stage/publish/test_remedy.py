"""Events that the stream doesn't take: something else is stored in their place, or they wait."""

from __future__ import annotations

import json
import random

import pytest
import trio
from tests.fakes.faults import Script
from tests.fakes.observer import RecordingObserver
from tests.fakes.payloads import FakePayloadStore
from tests.fakes.stream import LOST_ACK, NEVER_STORED, FakeStream, PublishFault
from tests.fakes.values import checkpoint, event, events
from tests.fakes.virtual_time import virtual_time

from mnc.encode.dead_letter import CAUSE_HEADER, ERROR_HEADER, SUBJECT_HEADER
from mnc.encode.reference import PAYLOAD_HEADER, read_reference
from mnc.errors import PayloadTooLargeError, SinkError, SinkRefusedError, SinkUnavailableError
from mnc.model import EncodedEvent, Epoch
from mnc.publish.publisher import Publisher
from mnc.publish.remedy import ClaimChecks, DeadLetters, Remedies, Remedy, Stop

_MARKER = "cs_position.users"
_DEAD_LETTERS = "cs_deadletter.users"
_LARGE = b"." * 2_000_000


class _Bench:
    """A stream, a store, and a publisher with policies for the two."""

    def __init__(self, *, oversize: Remedy | None = None, poison: Remedy | None = None) -> None:
        self.stream = FakeStream()
        self.store = FakePayloadStore()
        self.observer = RecordingObserver()
        self.publisher = Publisher(
            stream=self.stream,
            remedies=Remedies(
                oversize=oversize or ClaimChecks(self.store), poison=poison or DeadLetters()
            ),
            marker_subject=_MARKER,
            reached=checkpoint(0, stream_seq=0),
            epoch=Epoch(0),
            in_flight=trio.CapacityLimiter(1),
            observer=self.observer,
            rng=random.Random(1),
        )

    async def publish(self, *published: EncodedEvent) -> None:
        """Make the stream and publish."""
        await self.stream.ensure()
        await self.publisher.publish(published)


def _numbers(stored: list[EncodedEvent]) -> list[str]:
    return [each.message_id for each in stored]


def _refuse(bench: _Bench, *numbers: int) -> None:
    """Let the stream refuse these events, and nothing else."""
    refused = {event(number).subject for number in numbers}
    bench.stream.refused = lambda each: each.subject in refused


# --- poison --------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(10))
@virtual_time
async def test_poison_is_stored_as_dead_letters_in_its_place(seed: int) -> None:
    """Refused events become dead letters, wherever they are; the others go where they belong.

    All are stored once and in order, and the publisher has reached the last.
    """
    rng = random.Random(seed)
    poison = set(rng.sample(range(1, 101), rng.randrange(1, 8)))
    bench = _Bench()
    _refuse(bench, *poison)
    await bench.publish(*events(1, 100))
    stored = list(bench.stream.events)
    assert _numbers(stored) == _numbers(events(1, 100))
    for number, each in enumerate(stored, start=1):
        if number in poison:
            assert each.subject == _DEAD_LETTERS
            assert each.payload == event(number).payload
            assert dict(each.headers) == {
                CAUSE_HEADER: "sink_refused",
                ERROR_HEADER: "no such message",
                SUBJECT_HEADER: event(number).subject,
            }
        else:
            assert each == event(number)
    assert bench.publisher.reached == bench.stream.marker(_MARKER)


@virtual_time
async def test_a_stream_that_refuses_everything_gets_no_dead_letter() -> None:
    """A refusal that isn't the event's fault is raised, and nothing is stored."""
    bench = _Bench()
    bench.stream.refused = lambda _: True
    with pytest.raises(SinkRefusedError) as raised:
        await bench.publish(*events(1, 100))
    assert raised.value.code
    assert bench.stream.events == []


@virtual_time
async def test_a_refusal_that_passes_is_no_poison() -> None:
    """An event that JetStream refuses alone is sent again before it is given up."""
    bench = _Bench()
    refusal = SinkRefusedError("not now", code=10999)
    bench.stream.publish_faults = Script[PublishFault](refusal, refusal)
    await bench.publish(event(1))
    assert bench.stream.events == [event(1)]


@virtual_time
async def test_a_missing_permission_is_no_poison() -> None:
    """What isn't JetStream's own answer to a batch is raised at once."""
    bench = _Bench()
    denial = SinkRefusedError("NATS denies publishing to cs.users.insert.>")
    bench.stream.publish_faults = Script[PublishFault](denial)
    with pytest.raises(SinkRefusedError):
        await bench.publish(*events(1, 4))
    assert len(bench.stream.batches) == 1
    assert bench.stream.events == []


@virtual_time
async def test_poison_that_stops_says_which_setting_lets_it_go_on() -> None:
    """What stands before the event is stored; the error names the setting."""
    bench = _Bench(poison=Stop("set PUBLISH_ON_POISON=deadletter"))
    _refuse(bench, 3)
    with pytest.raises(SinkRefusedError, match="PUBLISH_ON_POISON") as raised:
        await bench.publish(*events(1, 9))
    assert raised.value.code
    assert bench.stream.events == events(1, 2)


@virtual_time
async def test_a_dead_letter_whose_acknowledgement_is_lost_is_heard_of() -> None:
    """The observer hears of what was stored, and not of what should have been."""
    bench = _Bench()
    _refuse(bench, 1)
    bench.stream.publish_faults = Script[PublishFault](*[None] * 4, LOST_ACK)
    await bench.publish(*events(1, 3))
    (dead_letter,) = bench.observer.recoveries
    assert dead_letter.dead_letter is not None
    assert bench.stream.events == [dead_letter, *events(2, 3)]


# --- too large -----------------------------------------------------------------------------------


@virtual_time
async def test_a_large_payload_is_kept_elsewhere_and_referred_to() -> None:
    """The message keeps subject, message id and place; its payload says where the event's is."""
    bench = _Bench()
    large = event(3, payload=_LARGE)
    await bench.publish(*events(1, 2), large, *events(4, 5))
    stored = bench.stream.events
    assert [*stored[:2], *stored[3:]] == [*events(1, 2), *events(4, 5)]
    message = stored[2]
    assert (message.subject, message.message_id) == (large.subject, large.message_id)
    assert dict(message.headers) == {PAYLOAD_HEADER: "object-store"}
    assert json.loads(message.payload)["n"] == 3
    reference = read_reference(dict(message.headers), message.payload)
    assert reference is not None
    assert bench.store.payloads == {reference.object: _LARGE}
    assert reference.bytes == len(_LARGE)


@pytest.mark.parametrize("fault", [NEVER_STORED, LOST_ACK, SinkUnavailableError("no leader")])
@virtual_time
async def test_a_reference_is_stored_once_whatever_happens_to_it(fault: PublishFault) -> None:
    """Like every event, a reference is sent again until the stream has it."""
    bench = _Bench()
    bench.stream.publish_faults = Script[PublishFault](fault)
    await bench.publish(event(1, payload=_LARGE), event(2))
    assert _numbers(list(bench.stream.events)) == _numbers(events(1, 2))
    assert bench.publisher.reached == bench.stream.marker(_MARKER)


@virtual_time
async def test_an_object_store_that_is_away_is_tried_again() -> None:
    """Nothing is stored without its payload; the outage is heard of."""
    bench = _Bench()
    bench.store.faults = Script[SinkError](*[SinkUnavailableError("no leader")] * 3)
    await bench.publish(event(1, payload=_LARGE))
    assert len(bench.stream.events) == len(bench.store.payloads) == 1
    assert [type(error) for error in bench.observer.retries] == [SinkUnavailableError] * 3


@virtual_time
async def test_an_object_store_that_refuses_is_an_operators_matter() -> None:
    """The refusal is raised: no dead letter for want of a permission."""
    bench = _Bench()
    bench.store.faults = Script[SinkError](SinkRefusedError("NATS denies publishing"))
    with pytest.raises(SinkRefusedError):
        await bench.publish(event(1, payload=_LARGE))
    assert bench.stream.events == []


@virtual_time
async def test_a_large_event_can_be_a_dead_letter() -> None:
    """By policy its summary goes to the dead letters, and the others go on."""
    bench = _Bench(oversize=DeadLetters())
    await bench.publish(event(1, payload=_LARGE), event(2))
    letter, other = bench.stream.events
    assert letter.subject == _DEAD_LETTERS
    assert letter.payload == event(1, payload=_LARGE).summary
    assert dict(letter.headers)[CAUSE_HEADER] == "payload_too_large"
    assert other == event(2)


@virtual_time
async def test_a_large_event_that_stops_says_which_setting_lets_it_go_on() -> None:
    """The collection waits, and the error names the setting."""
    bench = _Bench(oversize=Stop("set NATS_OVERSIZE=objectstore"))
    with pytest.raises(PayloadTooLargeError, match="NATS_OVERSIZE"):
        await bench.publish(event(1, payload=_LARGE))
    assert bench.stream.events == []


@virtual_time
async def test_a_refused_reference_becomes_a_dead_letter_with_the_reference() -> None:
    """The payload of a large event that is poison too can still be read."""
    bench = _Bench()
    _refuse(bench, 1)
    await bench.publish(event(1, payload=_LARGE), event(2))
    letter, _ = bench.stream.events
    assert letter.subject == _DEAD_LETTERS
    reference = read_reference(dict(letter.headers), letter.payload)
    assert reference is not None
    assert bench.store.payloads[reference.object] == _LARGE


@pytest.mark.parametrize("oversize", [DeadLetters(), Stop("-"), ClaimChecks(FakePayloadStore())])
@virtual_time
async def test_an_event_without_a_summary_has_no_substitute(oversize: Remedy) -> None:
    """Where a few kilobytes are too large already, nothing smaller can be stored."""
    with pytest.raises(PayloadTooLargeError):
        await oversize.substitute(event(1), PayloadTooLargeError("over max_msg_size"))
