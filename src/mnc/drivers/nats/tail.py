"""Following a stream: every message in order, over broken connections and restarts.

Theory of operation. The position is kept here, not by the broker: an ephemeral consumer without
acknowledgements delivers from it, in pull requests that are each read to their end. Whatever goes
wrong, a gap in the consumer's own numbers included, the consumer is forgotten and another one is
made at the position.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import orjson
from nats.aio.client import Client
from nats.aio.subscription import Subscription

from mnc.drivers.nats.replies import parse_reply, raise_error
from mnc.drivers.nats.session import NatsSession
from mnc.errors import StreamMissingError
from mnc.model import StreamSeq
from mnc.terminal.ports import StreamMessage

__all__ = ["StreamFollower"]

_BATCH_MESSAGES = 256
_BATCH_BYTES = 8 * 1024 * 1024
"""What a batch may hold in memory; a message that is larger comes alone."""

_WAIT_S = 1.0
"""How long a pull request waits for a first message."""

_ANSWER_TIMEOUT_S = 5.0
_INACTIVE_S = 30.0
"""The broker removes a consumer that was not asked for so long, as after the follower's end."""

_FIRST = StreamSeq(1)
_NS = 1_000_000_000
_ANSWERED = ("404", "408")
"""There are no more messages; the time is up."""

_TOO_LARGE = "Message Size Exceeds MaxBytes"
"""How nats-server describes the 409 that ends a request because of its bytes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Consumer:
    name: str
    delivered: int = 0
    """The consumer's own number of the last message that was read."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Pulled:
    messages: list[StreamMessage]
    consumer: _Consumer | None
    """None when the request could not be read to its end."""
    too_large: bool = False
    """The next message is larger than a batch may be."""


class StreamFollower:
    """Reads one stream from a position on, and waits for what comes.

    Invariants: every message of the filter from the position on is returned once, in the order of
    the stream. A stream that is deleted and made again is read from its beginning.
    """

    def __init__(
        self,
        session: NatsSession,
        *,
        stream: str,
        subject_filters: Sequence[str],
        start: StreamSeq | None,
    ) -> None:
        """Follow `stream` from the sequence `start` on; None means from its end at `open`."""
        self._session = session
        self._stream = stream
        self._filters = subject_filters
        self._next_seq = start
        self._created: str | None = None
        self._consumer: _Consumer | None = None

    async def open(self) -> None:
        """Settle where "from its end" is: messages stored from now on are returned.

        `next_batch` does it by itself at its first call. Raises what `next_batch` raises.
        """
        try:
            self._next_seq, self._created = await self._session.call(self._locate)
        except StreamMissingError:
            if self._next_seq is None or self._created is not None:
                self._next_seq, self._created = _FIRST, None  # all of a stream to come is new
            raise

    async def next_batch(self) -> list[StreamMessage]:
        """Return the next messages; see `MessageSource.next_batch`."""
        # Forgotten until the request has been read to its end: after a cancellation or an error
        # the consumer may have delivered messages that nobody has seen.
        consumer, self._consumer = self._consumer, None
        if consumer is None:
            await self.open()
            consumer = await self._session.call(self._create_consumer)
        pulled = await self._session.call(self._pull_batch, consumer)
        self._consumer = pulled.consumer
        if pulled.messages:
            self._next_seq = StreamSeq(pulled.messages[-1].stream_seq + 1)
        return pulled.messages

    # --- on the asyncio side --------------------------------------------------------------------

    async def _locate(self, client: Client) -> tuple[StreamSeq, str]:
        """Return the sequence to read from, and when the stream was made."""
        info = await self._api(client, f"STREAM.INFO.{self._stream}")
        created, state = str(info["created"]), info["state"]
        assert isinstance(state, dict)  # noqa: S101 - JetStream's own format
        if self._next_seq is None:
            return StreamSeq(int(state["last_seq"]) + 1), created
        is_another = self._created not in {None, created}
        return _FIRST if is_another else self._next_seq, created

    async def _create_consumer(self, client: Client) -> _Consumer:
        config = {
            "deliver_policy": "by_start_sequence",
            "opt_start_seq": self._next_seq,
            "filter_subjects": self._filters,
            "ack_policy": "none",
            "inactive_threshold": int(_INACTIVE_S * _NS),
            "mem_storage": True,
            "num_replicas": 1,
        }
        body = {"stream_name": self._stream, "config": config}
        created = await self._api(client, f"CONSUMER.CREATE.{self._stream}", body)
        return _Consumer(name=str(created["name"]))

    async def _pull_batch(self, client: Client, consumer: _Consumer) -> _Pulled:
        bounds = {"batch": _BATCH_MESSAGES, "max_bytes": _BATCH_BYTES}
        pulled = await self._pull(client, consumer, bounds)
        if pulled.too_large and pulled.consumer is not None and not pulled.messages:
            pulled = await self._pull(client, pulled.consumer, {"batch": 1})
        return pulled

    async def _pull(
        self, client: Client, consumer: _Consumer, bounds: Mapping[str, int]
    ) -> _Pulled:
        """Ask for messages, waiting for the first one only, and read the answer to its end."""
        inbox = client.new_inbox()
        subscription = await client.subscribe(inbox)
        try:
            request = {**bounds, "no_wait": True, "expires": int(_WAIT_S * _NS)}
            await client.publish(
                f"$JS.API.CONSUMER.MSG.NEXT.{self._stream}.{consumer.name}",
                orjson.dumps(request),
                reply=inbox,
            )
            return await _read_answer(subscription, consumer, limit=bounds["batch"])
        finally:
            await subscription.unsubscribe()

    async def _api(
        self, client: Client, verb: str, body: Mapping[str, object] | None = None
    ) -> dict[str, object]:
        payload = b"" if body is None else orjson.dumps(body)
        answer = await self._session.request(
            client, f"$JS.API.{verb}", payload, timeout_s=_ANSWER_TIMEOUT_S
        )
        reply = parse_reply(answer.data)
        raise_error(reply, stream=self._stream)
        return reply


async def _read_answer(subscription: Subscription, consumer: _Consumer, *, limit: int) -> _Pulled:
    messages: list[StreamMessage] = []
    while len(messages) < limit:
        message = await subscription.next_msg(timeout=_WAIT_S + _ANSWER_TIMEOUT_S)
        headers = message.headers or {}
        if not message.reply:  # the consumer's word about the request, not a message
            too_large = headers.get("Description") == _TOO_LARGE
            intact = too_large or headers.get("Status") in _ANSWERED
            return _Pulled(
                messages=messages, consumer=consumer if intact else None, too_large=too_large
            )
        metadata = message.metadata
        if metadata.sequence.consumer != consumer.delivered + 1:
            return _Pulled(messages=messages, consumer=None)
        consumer = replace(consumer, delivered=metadata.sequence.consumer)
        messages.append(
            StreamMessage(
                subject=message.subject,
                stream_seq=StreamSeq(metadata.sequence.stream),
                stored_at_s=metadata.timestamp.timestamp(),
                headers=headers,
                payload=message.data,
            )
        )
    return _Pulled(messages=messages, consumer=consumer)
