"""Large payloads in JetStream's object store: every client can read them, and none is left over."""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import TypeVar, cast

import nats
import pytest
import trio
from nats.js import JetStreamContext
from tests.contract.streams import JetStreamHarness
from tests.fakes.payloads import FakePayloadStore
from tests.fakes.values import event
from tests.jetstream import ask_jetstream

from mnc.drivers.nats.bucket import Bucket
from mnc.drivers.nats.claims import JetStreamPayloads
from mnc.drivers.nats.session import NatsSession
from mnc.drivers.nats.sweep import PayloadSweeper
from mnc.encode.reference import refer
from mnc.errors import SinkUnavailableError, StreamFullError
from mnc.model import EncodedEvent, Position, StreamSeq
from mnc.publish.ports import Batch, PayloadStore
from mnc.resolve import PayloadMismatchError, resolve

pytestmark = pytest.mark.usefixtures("deadline")

_T = TypeVar("_T")
_PAYLOAD = b'{"a":"%b"}' % (b"x" * 1_500_000)


class _Payloads:
    """A stream, its bucket, and a client of a consumer's own."""

    def __init__(self, session: NatsSession, harness: JetStreamHarness) -> None:
        self.session = session
        self.harness = harness
        self.store = JetStreamPayloads(session, stream=harness.name, ack_timeout_s=5.0)
        self.bucket = Bucket.of_stream(harness.name)

    async def chunks(self) -> int:
        """Count the rows of chunks in the bucket."""
        return await self._count(self.bucket.all_chunks)

    async def objects(self) -> int:
        """Count the objects."""
        return await self._count(self.bucket.all_metas)

    async def sweep(self, min_age: timedelta) -> int:
        """Sweep once."""
        return await PayloadSweeper(self.session, stream=self.harness.name, min_age=min_age).sweep()

    async def publish(self, published: EncodedEvent, *, fence: int = 0) -> int:
        """Store an event."""
        batch = Batch(
            events=[published],
            marker_subject=f"{self.harness.name}_position.users",
            position=Position(token=published.token),
            expected_seq=StreamSeq(fence),
        )
        return await self.harness.port.publish(batch)

    async def consume(self, function: Callable[[JetStreamContext], Awaitable[_T]]) -> _T:
        """Run an asyncio function as a consumer would."""

        async def run() -> _T:
            client = await nats.connect(self.harness.url)
            try:
                return await function(client.jetstream())
            finally:
                await client.close()

        return await trio.to_thread.run_sync(asyncio.run, run())

    async def ask(self, verb: str, body: dict[str, object] | None = None) -> dict[str, object]:
        """Ask the bucket's stream."""
        return await trio.to_thread.run_sync(
            ask_jetstream, self.harness.url, f"{verb}.{self.bucket.stream}", body
        )

    async def _count(self, subjects: str) -> int:
        answer = await self.ask("STREAM.INFO", {"subjects_filter": subjects})
        state = answer["state"]
        assert isinstance(state, dict)
        return len(state.get("subjects") or {})


@pytest.fixture
async def payloads(nats_session: NatsSession, jetstream: JetStreamHarness) -> _Payloads:
    """Give an empty stream without a bucket."""
    await jetstream.port.ensure()
    return _Payloads(nats_session, jetstream)


@pytest.fixture
async def real_store(payloads: _Payloads) -> JetStreamPayloads:
    """Give the driver."""
    return payloads.store


@pytest.fixture(params=["fake", "real"])
def store(request: pytest.FixtureRequest) -> PayloadStore:
    """Give both stores in turn."""
    if request.param == "fake":
        return FakePayloadStore()
    return cast(PayloadStore, request.getfixturevalue("real_store"))


async def test_a_reference_describes_the_payload(store: PayloadStore) -> None:
    """Name, size and digest are those of what was put; again is the same."""
    reference = await store.put("82AB", _PAYLOAD)
    assert reference.object == "82AB"
    assert reference.bytes == len(_PAYLOAD)
    assert reference.sha256 == hashlib.sha256(_PAYLOAD).hexdigest()
    assert await store.put("82AB", _PAYLOAD) == reference


async def test_every_client_reads_what_was_put(payloads: _Payloads) -> None:
    """nats-py's own object store finds the object, whole and with the right digest."""
    reference = await payloads.store.put("sha256:00ff", _PAYLOAD)

    async def get(jetstream: JetStreamContext) -> bytes:
        store = await jetstream.object_store(reference.bucket)
        return (await store.get(reference.object)).data or b""

    assert await payloads.consume(get) == _PAYLOAD


async def test_a_payload_is_stored_once(payloads: _Payloads) -> None:
    """Putting the same again, as after a crash, stores nothing; another one replaces it."""
    await payloads.store.put("82AB", _PAYLOAD)
    before = await payloads.ask("STREAM.INFO")
    await payloads.store.put("82AB", _PAYLOAD)
    after = await payloads.ask("STREAM.INFO")
    assert before["state"] == after["state"]
    await payloads.store.put("82AB", b"other")
    assert await payloads.chunks() == await payloads.objects() == 1


async def test_a_payload_that_is_old_is_stored_again(
    payloads: _Payloads, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A sweep may be about to remove it: what a message will refer to is young."""
    monkeypatch.setattr("mnc.drivers.nats.claims.REUSED_FOR", timedelta(seconds=0.3))
    await payloads.store.put("82AB", _PAYLOAD)
    await trio.sleep(0.6)
    await payloads.store.put("82AB", _PAYLOAD)
    assert await payloads.sweep(timedelta(seconds=0.5)) == 0
    assert await payloads.chunks() == await payloads.objects() == 1


async def test_a_deleted_bucket_is_made_again(payloads: _Payloads) -> None:
    """An operator who deletes the bucket loses what was in it, and nothing else."""
    await payloads.store.put("82AB", _PAYLOAD)
    await payloads.ask("STREAM.DELETE")
    await payloads.store.put("82AB", _PAYLOAD)
    assert await payloads.objects() == 1


async def test_a_full_bucket_is_said_and_left_clean(payloads: _Payloads) -> None:
    """A put that doesn't fit leaves no chunks: each attempt would leave more of them."""
    await payloads.store.put("82AB", b"small")
    info = await payloads.ask("STREAM.INFO")
    config = info["config"]
    assert isinstance(config, dict)
    await payloads.ask("STREAM.UPDATE", {**config, "max_bytes": 1_000_000})
    with pytest.raises(StreamFullError):
        await payloads.store.put("82AC", _PAYLOAD)
    assert await payloads.chunks() == await payloads.objects() == 1


async def test_without_a_connection_a_put_is_for_later(stream_name: str) -> None:
    """The error is one after which the publisher tries again."""
    session = NatsSession(["nats://127.0.0.1:1"], name="contract")
    store = JetStreamPayloads(session, stream=stream_name, ack_timeout_s=1.0)
    with pytest.raises(SinkUnavailableError):
        await store.put("82AB", _PAYLOAD)


# --- reading ----------------------------------------------------------------------------------


async def _publish_reference(payloads: _Payloads) -> EncodedEvent:
    large = event(1, payload=_PAYLOAD, stream=payloads.harness.name)
    referring = refer(large, await payloads.store.put(large.message_id, large.payload))
    await payloads.publish(referring)
    return referring


async def test_a_message_gives_its_payload_wherever_it_is(payloads: _Payloads) -> None:
    """A consumer needs one call for small and large events alike."""
    referring = await _publish_reference(payloads)
    small = event(2, stream=payloads.harness.name)
    await payloads.publish(small, fence=2)

    async def read(jetstream: JetStreamContext) -> list[bytes]:
        stream = payloads.harness.name
        subscription = await jetstream.subscribe(f"{stream}.>", ordered_consumer=True)
        return [await resolve(jetstream, await subscription.next_msg()) for _ in (referring, small)]

    assert await payloads.consume(read) == [_PAYLOAD, small.payload]


async def test_an_object_that_was_exchanged_is_noticed(payloads: _Payloads) -> None:
    """The payload is compared with the reference's size and digest."""
    referring = await _publish_reference(payloads)
    altered = _PAYLOAD.replace(b"a", b"b")
    for other in (b"short", altered):
        await payloads.store.put(referring.message_id, other)

        async def read(jetstream: JetStreamContext) -> bytes:
            stream = payloads.harness.name
            subscription = await jetstream.subscribe(f"{stream}.>", ordered_consumer=True)
            return await resolve(jetstream, await subscription.next_msg())

        with pytest.raises(PayloadMismatchError):
            await payloads.consume(read)


# --- sweeping ---------------------------------------------------------------------------------


async def _put_in_part(payloads: _Payloads, name: str) -> None:
    """Leave what a crash in the middle of a put leaves."""
    subject = payloads.bucket.chunks_subject(name, "torn")

    async def publish(jetstream: JetStreamContext) -> None:
        await jetstream.publish(subject, b"chunk")

    await payloads.consume(publish)


async def test_a_sweep_removes_chunks_without_an_object(payloads: _Payloads) -> None:
    """Those of a first attempt and those of one before a success go; the object stays whole."""
    referring = await _publish_reference(payloads)
    await _put_in_part(payloads, "82AB")
    await _put_in_part(payloads, referring.message_id)
    assert await payloads.chunks() == 3
    assert await payloads.sweep(timedelta(hours=1)) == 0
    await trio.sleep(0.6)
    assert await payloads.sweep(timedelta(seconds=0.3)) == 2
    assert await payloads.objects() == await payloads.chunks() == 1


async def test_a_sweep_keeps_what_a_message_refers_to(payloads: _Payloads) -> None:
    """Objects before the oldest message go, by more than the age; all others stay."""
    await payloads.store.put("82AB", b"of a message that is gone")
    await trio.sleep(0.6)
    await _publish_reference(payloads)
    assert await payloads.sweep(timedelta(hours=1)) == 0
    assert await payloads.objects() == 2
    assert await payloads.sweep(timedelta(seconds=0.3)) == 1
    assert await payloads.objects() == await payloads.chunks() == 1
    await payloads.harness.purge()
    await trio.sleep(0.6)
    assert await payloads.sweep(timedelta(seconds=0.3)) == 1
    assert await payloads.objects() == await payloads.chunks() == 0


async def test_a_sweep_without_a_bucket_does_nothing(payloads: _Payloads) -> None:
    """Most streams never have a large event."""
    assert await payloads.sweep(timedelta(0)) == 0
    assert "error" in await payloads.ask("STREAM.INFO")


async def test_the_reference_is_what_docs_say(payloads: _Payloads) -> None:
    """Its fields are an interface."""
    referring = await _publish_reference(payloads)
    (stored, *_) = await payloads.harness.stored()
    assert stored.payload == referring.payload
    assert set(json.loads(referring.payload)["payload"]) == {"bucket", "object", "bytes", "sha256"}
