"""What a stream is published to with, when that changes under running connectors."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace

import pytest
import trio
from tests.contract.conftest import Connect
from tests.contract.streams import JetStreamHarness
from tests.contract.unbatched import batch_of, marker_of, numbered, numbers_of, reached_at
from tests.jetstream import publish_message, read_messages

from mnc.drivers.nats.mode import Mode
from mnc.encode.dead_letter import dead_letter
from mnc.encode.subject import stream_subjects
from mnc.errors import (
    FenceLostError,
    PayloadTooLargeError,
    SinkError,
    SinkRefusedError,
    SinkUnavailableError,
)
from mnc.model import Checkpoint

pytestmark = pytest.mark.usefixtures("deadline")

_TAKEOVERS = 8


async def _allow_batches(unchangeable: JetStreamHarness) -> None:
    flags = ("allow_atomic", "allow_rollup_hdrs", "allow_msg_ttl")
    subjects = stream_subjects(unchangeable.name)
    await unchangeable.amend({"subjects": list(subjects), **dict.fromkeys(flags, True)})


async def test_batches_begin_where_chains_ended(unchangeable: JetStreamHarness) -> None:
    """Once an operator has added what batches need, the last event's position gets a marker."""
    port = unchangeable.port
    await port.ensure()
    await port.publish(batch_of(unchangeable, 1, 2))
    await _allow_batches(unchangeable)
    await port.ensure()
    assert port.mode is Mode.ATOMIC
    assert await port.read_marker(marker_of(unchangeable)) is None
    position = await port.read_position(marker_of(unchangeable))
    assert position == reached_at(2, 3)
    assert await port.read_marker(marker_of(unchangeable)) == position
    assert await port.publish(batch_of(unchangeable, 3, fence=3)) == 5
    assert await port.read_position(marker_of(unchangeable)) == reached_at(3, 5)


async def test_chains_begin_where_batches_ended(unchangeable: JetStreamHarness) -> None:
    """A stream that has markers, and takes no batches any more, goes on behind them."""
    port = unchangeable.port
    await _allow_batches(unchangeable)
    await port.ensure()
    await port.publish(batch_of(unchangeable, 1, 2))
    await unchangeable.amend({"allow_atomic": False})
    await port.ensure()
    assert port.mode is Mode.CHAINED
    assert await port.read_position(marker_of(unchangeable)) == reached_at(2, 3)
    assert await port.publish(batch_of(unchangeable, 3, 4, fence=3)) == 5
    assert await port.read_position(marker_of(unchangeable)) == reached_at(4, 5)


async def test_a_chain_stops_where_batches_took_over(
    unchangeable: JetStreamHarness, connect: Connect
) -> None:
    """A writer that still publishes in chains is refused from the moment that a marker is there."""
    await unchangeable.port.ensure()
    fence = await unchangeable.port.publish(batch_of(unchangeable, 1, 2))
    await _allow_batches(unchangeable)
    other = await connect(unchangeable.port_url, unchangeable.name)
    await other.ensure()
    assert await other.read_position(marker_of(unchangeable)) == reached_at(2, 3)
    with pytest.raises(FenceLostError):
        await unchangeable.port.publish(batch_of(unchangeable, 3, fence=fence))
    assert await numbers_of(unchangeable) == [1, 2]


async def test_taking_over_from_a_chain_misses_nothing(
    unchangeable: JetStreamHarness, connect: Connect
) -> None:
    """The marker that takes over stands directly behind the event that it names, also in a race."""
    await unchangeable.port.ensure()
    await _allow_batches(unchangeable)
    other = await connect(unchangeable.port_url, unchangeable.name)
    await other.ensure()
    taken: list[Checkpoint] = []

    async def write() -> None:
        while len(taken) < _TAKEOVERS:
            position = await unchangeable.port.read_position(marker_of(unchangeable))
            reached, fence = (0, 0) if position is None else numbered(position)
            batch = batch_of(unchangeable, reached + 1, reached + 2, fence=fence)
            with suppress(SinkError):
                await unchangeable.port.publish(batch)
            await trio.sleep(0.005)  # about as long as a take-over: some have to succeed

    with trio.fail_after(15):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(write)
            while len(taken) < _TAKEOVERS:
                with suppress(SinkUnavailableError):
                    position = await other.read_position(marker_of(unchangeable))
                    if position is not None and position not in taken:
                        taken.append(position)
    events = [it for it in await unchangeable.stored() if it.message_id]
    for position in taken:
        number, seq = numbered(position)
        *_, last = (it for it in events if it.stream_seq < seq)
        assert last.subject.endswith(f".{number}")
    assert await numbers_of(unchangeable) == list(range(1, len(events) + 1))


async def test_a_copy_behind_the_marker_moves_no_position(unchangeable: JetStreamHarness) -> None:
    """An old event that a person publishes again doesn't take a collection back to it."""
    port = unchangeable.port
    await _allow_batches(unchangeable)
    await port.ensure()
    fence = await port.publish(batch_of(unchangeable, 1, 2))
    copy = batch_of(unchangeable, 1).events[0]
    await trio.to_thread.run_sync(publish_message, unchangeable.url, copy.subject, copy.payload)
    assert await port.read_position(marker_of(unchangeable)) == reached_at(2, fence)


async def test_a_lane_keeps_to_the_way_that_it_was_acquired_with(
    unchangeable: JetStreamHarness,
) -> None:
    """When the way of publishing changes, a fence of the old one isn't used with the new one."""
    port = unchangeable.port
    await port.ensure()
    assert await port.read_position(marker_of(unchangeable)) is None
    await _allow_batches(unchangeable)
    await port.ensure()
    with pytest.raises(SinkError, match="has changed"):
        await port.publish(batch_of(unchangeable, 1))
    assert await unchangeable.stored() == []
    assert await port.read_position(marker_of(unchangeable)) is None
    assert await port.publish(batch_of(unchangeable, 1)) == 2


async def test_batches_need_no_place_for_dead_letters(unchangeable: JetStreamHarness) -> None:
    """A stream that lacks only that is written in batches, and says so when one is due."""
    subjects = stream_subjects(unchangeable.name)
    flags = dict.fromkeys(("allow_atomic", "allow_rollup_hdrs", "allow_msg_ttl"), True)
    await unchangeable.amend({"subjects": [subjects.events, subjects.markers], **flags})
    await unchangeable.port.ensure()
    assert unchangeable.port.mode is Mode.ATOMIC
    poison = batch_of(unchangeable, 1)
    poisoned = dead_letter(poison.events[0], SinkRefusedError("too strange"))
    with pytest.raises(SinkRefusedError, match="too strange") as caught:
        await unchangeable.port.publish(replace(poison, events=(poisoned,)))
    assert subjects.dead_letters in caught.value.remedy
    assert await unchangeable.stored() == []


async def test_a_chain_does_not_go_on_behind_a_marker_that_took_over(
    unchangeable: JetStreamHarness, connect: Connect
) -> None:
    """A marker that names an event of the chain, whose outcome is in doubt, ends the chain.

    Batches are fenced by the marker alone: what a chain put behind it, they would store again.
    """
    await unchangeable.port.ensure()
    fence = await unchangeable.port.publish(batch_of(unchangeable, 1, 2))
    await unchangeable.port.publish(batch_of(unchangeable, 3, fence=fence))
    await _allow_batches(unchangeable)
    other = await connect(unchangeable.port_url, unchangeable.name)
    await other.ensure()
    marker = await other.read_position(marker_of(unchangeable))
    assert marker == reached_at(3, 4)
    with pytest.raises(FenceLostError):
        await unchangeable.port.read_marker(marker_of(unchangeable))
    with pytest.raises(FenceLostError):
        await unchangeable.port.publish(batch_of(unchangeable, 4, fence=4))
    assert await numbers_of(unchangeable) == [1, 2, 3]


async def test_headers_of_a_batch_are_on_its_events(unchangeable: JetStreamHarness) -> None:
    """In every mode each event's message has them, and they count for the broker's limit."""
    port = unchangeable.port
    headers = {"traceparent": "00-1-2-01"}
    await port.ensure()
    fence = await port.publish(replace(batch_of(unchangeable, 1, 2), headers=headers))
    await _allow_batches(unchangeable)
    await port.ensure()
    assert await port.read_position(marker_of(unchangeable)) == reached_at(2, fence + 1)
    batch = batch_of(unchangeable, 3, 4, fence=fence + 1)
    await port.publish(replace(batch, headers=headers))
    stored = await trio.to_thread.run_sync(read_messages, unchangeable.url, unchangeable.name)
    assert [m.headers.get("traceparent") for m in stored] == ["00-1-2-01"] * 4 + [None]
    too_long = {"tracestate": "x" * 1024 * 1024}
    with pytest.raises(PayloadTooLargeError):
        await port.publish(replace(batch, headers=too_long))
