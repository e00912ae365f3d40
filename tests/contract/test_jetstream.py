"""What only a real JetStream stream can show: settings of an operator, and foreign messages."""

from __future__ import annotations

import json
from collections.abc import Sequence
from urllib.parse import urlsplit

import pytest
import trio
from tests.contract.streams import JetStreamHarness
from tests.fakes.values import event

from mnc.drivers.nats.session import NatsSession
from mnc.errors import (
    CheckpointUnavailableError,
    MncError,
    PayloadTooLargeError,
    SinkRefusedError,
    SourceUnavailableError,
    StreamMissingError,
)
from mnc.model import Position, StreamSeq
from mnc.publish.ports import Batch

pytestmark = pytest.mark.usefixtures("deadline")


def _batch(jetstream: JetStreamHarness, *numbers: int) -> Batch:
    events = [event(number, stream=jetstream.name) for number in numbers]
    return Batch(
        events=events,
        marker_subject=f"{jetstream.name}_position.users",
        position=Position(token=events[-1].token),
        expected_seq=StreamSeq(0),
    )


async def _create(jetstream: JetStreamHarness, **settings: object) -> None:
    config = {"name": jetstream.name, "subjects": [f"{jetstream.name}.>"], **settings}
    assert "error" not in await jetstream.ask("STREAM.CREATE", config)


async def _connection_number(url: str) -> int:
    """Connect, and return which of all connections that the server ever had this one is."""
    address = urlsplit(url)
    assert address.hostname is not None
    assert address.port is not None
    async with await trio.open_tcp_stream(address.hostname, address.port) as stream:
        greeting = b""
        while not greeting.endswith(b"\r\n"):
            greeting += await stream.receive_some()
    number: int = json.loads(greeting.removeprefix(b"INFO "))["client_id"]
    return number


async def _config(jetstream: JetStreamHarness) -> dict[str, object]:
    config = (await jetstream.ask("STREAM.INFO"))["config"]
    assert isinstance(config, dict)
    return config


async def test_an_operators_stream_keeps_its_settings(jetstream: JetStreamHarness) -> None:
    """A stream that a person made gets what batches need, and nothing else of it changes."""
    chosen = {"max_age": 3600 * 10**9, "max_bytes": 10**9, "description": "ours", "discard": "old"}
    await _create(jetstream, **chosen)
    before = await _config(jetstream)
    await jetstream.port.ensure()
    after = await _config(jetstream)
    changed = {name for name in {*before, *after} if before.get(name) != after.get(name)}
    assert changed <= {
        "subjects", "allow_atomic", "allow_rollup_hdrs", "allow_msg_ttl", "metadata",
    }  # fmt: skip
    added = [f"{jetstream.name}_position.*", f"{jetstream.name}_deadletter.*"]
    assert after["subjects"] == [f"{jetstream.name}.>", *added]
    await jetstream.port.publish(_batch(jetstream, 1))


@pytest.mark.parametrize(
    ("failures", "is_asked"),
    [
        ([], False),
        ([SourceUnavailableError("away"), CheckpointUnavailableError("away")], False),
        ([SourceUnavailableError("away"), StreamMissingError("deleted")], True),
        ([PayloadTooLargeError("large")], True),
    ],
)
async def test_a_stream_that_is_known_is_asked_about_after_its_own_failures_only(
    jetstream: JetStreamHarness, failures: Sequence[MncError], is_asked: bool
) -> None:
    """A start that no failure of the stream's preceded costs it no question; one that did, does."""
    await jetstream.port.prepare([])
    await jetstream.delete()
    await jetstream.port.prepare(failures)
    assert ("error" not in await jetstream.ask("STREAM.INFO")) == is_asked


@pytest.mark.parametrize(
    ("failure", "connections"),
    [(StreamMissingError("deleted"), 0), (PayloadTooLargeError("large"), 1)],
)
async def test_only_what_was_too_large_costs_a_second_connection(
    jetstream: JetStreamHarness, failure: MncError, connections: int
) -> None:
    """The broker's limits are looked up for a lane that they refused, and for no other."""
    await jetstream.port.prepare([])
    before = await _connection_number(jetstream.url)
    await jetstream.port.prepare([failure])
    assert await _connection_number(jetstream.url) - before == 1 + connections


async def test_a_stream_without_batches_refuses(jetstream: JetStreamHarness) -> None:
    """A stream whose operator switched batches off again refuses, which only a person can heal."""
    await jetstream.port.ensure()
    await jetstream.amend({"allow_atomic": False})
    with pytest.raises(SinkRefusedError) as caught:
        await jetstream.port.publish(_batch(jetstream, 1))
    assert caught.value.code == 10174
    assert await jetstream.stored() == []


async def test_subjects_of_another_stream_are_refused(jetstream: JetStreamHarness) -> None:
    """When JetStream doesn't let the stream be made, the error says what a person can do."""
    rival = JetStreamHarness(jetstream.port, url=jetstream.url, name=f"{jetstream.name}_rival")
    config = {"name": rival.name, "subjects": [f"{jetstream.name}_position.*"]}
    assert "error" not in await rival.ask("STREAM.CREATE", config)
    try:
        with pytest.raises(SinkRefusedError) as caught:
            await jetstream.port.ensure()
    finally:
        await rival.delete()
    assert "take the subjects out of the other stream" in caught.value.remedy


@pytest.mark.parametrize(
    "setting", [{"retention": "interest"}, {"no_ack": True}, {"deny_purge": True}], ids=str
)
async def test_a_stream_that_would_lose_events_is_refused(
    jetstream: JetStreamHarness, setting: dict[str, object]
) -> None:
    """An operator's setting that events or markers don't survive is refused, and not changed."""
    await _create(jetstream, **setting)
    before = await _config(jetstream)
    with pytest.raises(SinkRefusedError):
        await jetstream.port.ensure()
    assert await _config(jetstream) == before


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"hello",
        b"{}",
        b"[]",
        b"1",
        b'{"token":"8","epoch":0}',
        b'{"token":1,"epoch":0}',
    ],
)
async def test_a_foreign_marker_is_refused(
    jetstream: JetStreamHarness, nats_session: NatsSession, payload: bytes
) -> None:
    """Whatever a person puts on a marker's subject, it is refused and never guessed at."""
    await jetstream.port.ensure()
    subject = f"{jetstream.name}_position.users"

    await nats_session.call(lambda client: client.jetstream().publish(subject, payload))
    with pytest.raises(SinkRefusedError) as caught:
        await jetstream.port.read_marker(subject)
    assert subject in str(caught.value)


async def test_a_marker_outlives_the_events(jetstream: JetStreamHarness) -> None:
    """Where old messages expire, the marker stays, so that the fence holds for ever."""
    await jetstream.port.ensure()
    await jetstream.amend({"max_age": 10**8, "duplicate_window": 10**8})
    seq = await jetstream.port.publish(_batch(jetstream, 1, 2))
    while any(  # noqa: ASYNC110 - the server tells nobody when messages expire
        stored.message_id for stored in await jetstream.stored()
    ):
        await trio.sleep(0.05)
    marker = await jetstream.port.read_marker(f"{jetstream.name}_position.users")
    assert marker is not None
    assert marker.stream_seq == seq


async def test_a_markers_payload_is_json_that_others_can_read(jetstream: JetStreamHarness) -> None:
    """A marker has the token, its cluster time and the epoch, by the names that are documented."""
    await jetstream.port.ensure()
    batch = _batch(jetstream, 5)
    await jetstream.port.publish(batch)
    (payload,) = [stored.payload for stored in await jetstream.stored() if not stored.message_id]
    assert payload is not None
    assert json.loads(payload) == {
        "token": batch.position.token.data,
        "clusterTime": {"t": 1_700_000_000, "i": 5},
        "epoch": 0,
    }
