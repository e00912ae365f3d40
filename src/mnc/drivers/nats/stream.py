"""One JetStream stream behind the publish stage's port.

Theory of operation. An atomic batch is a row of messages that share `Nats-Batch-Id`; the server
keeps them aside and checks the fence and the message ids when the last one, marked
`Nats-Batch-Commit`, arrives. Then it stores all or none. Only that last message needs an answer. A
batch belongs to its id, not to its connection, so every attempt gets a new one.
"""

from __future__ import annotations

import base64
from collections.abc import Sequence

import orjson
from nats.aio.client import Client
from nats.nuid import NUID

from mnc.drivers.nats.replies import (
    NO_MESSAGE,
    STREAM_NOT_FOUND,
    error_code,
    has_leader,
    parse_reply,
    raise_error,
)
from mnc.drivers.nats.session import NatsSession
from mnc.drivers.nats.stream_config import amended_config, new_config, obstacle
from mnc.errors import (
    OutcomeUnknownError,
    PayloadTooLargeError,
    SinkError,
    SinkRefusedError,
    SinkUnavailableError,
)
from mnc.model import Checkpoint, EncodedEvent, Epoch, Position, ResumeToken, StreamSeq
from mnc.publish.ports import Batch

__all__ = ["MINIMUM_SERVER", "JetStream"]

MINIMUM_SERVER = (2, 12, 0)
"""The first nats-server with atomic batches."""

_HEADER_NAMES_BYTES = 384
"""More than a message's header names, batch id and numbers take: 280 bytes, with the fence."""


class JetStream:
    """One stream: made ready, read for its markers, and written in fenced batches."""

    def __init__(
        self, session: NatsSession, *, stream: str, subjects: Sequence[str], ack_timeout_s: float
    ) -> None:
        self._session = session
        self._stream = stream
        self._subjects = subjects
        self._timeout_s = ack_timeout_s
        self._nuid = NUID()
        self._max_msg_bytes = -1
        """The stream's `max_msg_size`, as `ensure` found it; -1 is no limit."""

    async def wait_connected(self) -> None:
        """Return when there is a connection to NATS."""
        await self._session.wait_connected()

    async def check(self) -> None:
        """Ask JetStream for the stream. Raises SinkError when no good answer comes.

        A stream that doesn't exist yet is a good answer: JetStream is there.
        """
        reply = await self._api(f"STREAM.INFO.{self._stream}")
        if error_code(reply) != STREAM_NOT_FOUND:
            raise_error(reply, stream=self._stream)
            if not has_leader(reply):
                raise SinkUnavailableError(f"stream {self._stream} has no leader now")

    async def ensure(self) -> None:
        """Create the stream, or add what it lacks; see `StreamPort.ensure`."""
        await self.wait_connected()
        await self._session.refresh_limits()
        if self._session.server_version < MINIMUM_SERVER:
            found = ".".join(map(str, self._session.server_version))
            raise SinkRefusedError(
                f"nats-server {found} has no atomic batches",
                remedy="run nats-server 2.12 or newer",
            )
        reply = await self._api(f"STREAM.INFO.{self._stream}")
        if error_code(reply) == STREAM_NOT_FOUND:
            config: dict[str, object] | None = new_config(self._stream, self._subjects)
            verb = "CREATE"
        else:
            raise_error(reply, stream=self._stream)
            found_config = reply["config"]
            assert isinstance(found_config, dict)  # noqa: S101 - JetStream's own format
            self._max_msg_bytes = found_config.get("max_msg_size", -1)
            if blocked := obstacle(found_config):
                problem, remedy = blocked
                raise SinkRefusedError(f"stream {self._stream} {problem}", remedy=remedy)
            config = amended_config(found_config, self._subjects)
            verb = "UPDATE"
        if config is None:
            return
        try:
            reply = await self._api(f"STREAM.{verb}.{self._stream}", config)
            raise_error(reply, stream=self._stream)
        except OutcomeUnknownError as error:
            raise SinkUnavailableError(error.message) from error
        except SinkRefusedError as error:
            raise SinkRefusedError(
                f"can't {verb.lower()} the stream: {error.message}",
                remedy=_remedy(error, _command(verb, config)),
                code=error.code,
            ) from error

    async def read_marker(self, marker_subject: str) -> Checkpoint | None:
        """Return what the marker says; see `StreamPort.read_marker`."""
        try:
            reply = await self._api(
                f"STREAM.MSG.GET.{self._stream}", {"last_by_subj": marker_subject}
            )
        except OutcomeUnknownError as error:
            # Reading has no outcome to be unsure of.
            raise SinkUnavailableError(error.message) from error
        if error_code(reply) == NO_MESSAGE:
            return None
        raise_error(reply, stream=self._stream)
        message = reply["message"]
        assert isinstance(message, dict)  # noqa: S101 - JetStream's own format
        try:
            position = _decode_position(base64.b64decode(message["data"]))
        except (KeyError, TypeError, ValueError) as error:
            raise SinkRefusedError(
                f"the last message of {marker_subject} is no position marker",
                remedy="remove it if a person put it there; mnc continues from its token document",
            ) from error
        return Checkpoint(position=position, stream_seq=StreamSeq(int(message["seq"])))

    async def publish(self, batch: Batch) -> StreamSeq:
        """Store a batch behind its fence; see `StreamPort.publish`."""
        self._check_sizes(batch)
        try:
            reply = await self._session.call(self._send, batch)
            raise_error(reply, stream=self._stream)
        except SinkError as error:
            # JetStream misses a message that the user may not publish, and can't say why.
            if denial := self._session.denial(event.subject for event in batch.events):
                raise denial from error
            raise
        seq = reply.get("seq")
        if not isinstance(seq, int) or reply.get("count") != len(batch.events) + 1:
            raise OutcomeUnknownError("JetStream's answer doesn't fit the batch")
        return StreamSeq(seq)

    def _check_sizes(self, batch: Batch) -> None:
        """Raise PayloadTooLargeError for an event that the broker or the stream won't take."""
        # Sent all the same, it would close the connection, or go missing from the batch unnamed.
        limits = [
            (
                self._session.max_payload_bytes,
                "the broker's max_payload",
                "raise max_payload in nats-server's configuration (at most 64MB)",
            )
        ]
        if self._max_msg_bytes > 0:
            name = self._stream
            remedy = f"run: nats stream edit {name} --max-msg-size=-1"
            limits.append((self._max_msg_bytes, f"max_msg_size of stream {name}", remedy))
        for event in batch.events:
            for limit, what, remedy in limits:
                if len(event.payload) + _overhead_bytes(event, batch) > limit:
                    raise PayloadTooLargeError(
                        f"an event of {len(event.payload)} bytes is over {what}", remedy=remedy
                    )

    # --- on the asyncio side --------------------------------------------------------------------

    async def _send(self, client: Client, batch: Batch) -> dict[str, object]:
        batch_id = self._nuid.next().decode()
        fence = {
            "Nats-Expected-Stream": self._stream,
            "Nats-Expected-Last-Subject-Sequence": str(batch.expected_seq),
            "Nats-Expected-Last-Subject-Sequence-Subject": batch.marker_subject,
        }
        for number, event in enumerate(batch.events, start=1):
            headers = {
                "Nats-Batch-Id": batch_id,
                "Nats-Batch-Sequence": str(number),
                "Nats-Msg-Id": event.message_id,
            }
            if number == 1:
                headers |= fence
            await client.publish(event.subject, event.payload, headers=headers)
        answer = await self._session.request(
            client,
            batch.marker_subject,
            _encode_position(batch.position),
            timeout_s=self._timeout_s,
            headers={
                "Nats-Batch-Id": batch_id,
                "Nats-Batch-Sequence": str(len(batch.events) + 1),
                "Nats-Batch-Commit": "1",
                "Nats-Rollup": "sub",
                "Nats-TTL": "never",
                **({} if batch.events else fence),
            },
        )
        return parse_reply(answer.data)

    async def _api(self, verb: str, body: object = None) -> dict[str, object]:
        payload = b"" if body is None else orjson.dumps(body)
        return await self._session.call(self._api_request, f"$JS.API.{verb}", payload)

    async def _api_request(self, client: Client, subject: str, payload: bytes) -> dict[str, object]:
        answer = await self._session.request(client, subject, payload, timeout_s=self._timeout_s)
        return parse_reply(answer.data)


def _encode_position(position: Position) -> bytes:
    """Return the marker's payload: JSON, as docs/messages.md describes it."""
    token = position.token
    time = token.cluster_time
    fields: dict[str, object] = {"token": token.data}
    if token.type_bits is not None:
        fields["typeBits"] = base64.b64encode(token.type_bits).decode()
    fields["clusterTime"] = {"t": time.seconds, "i": time.increment}
    fields["epoch"] = position.epoch
    return orjson.dumps(fields)


def _decode_position(payload: bytes) -> Position:
    """Read a marker's payload. Raises KeyError, TypeError or ValueError when it is none."""
    fields = orjson.loads(payload)
    if not isinstance(fields, dict):
        raise TypeError("a position marker is a JSON object")
    type_bits = fields.get("typeBits")
    token = ResumeToken(
        str(fields["token"]), None if type_bits is None else base64.b64decode(type_bits)
    )
    _ = token.cluster_time  # raises when the token is none
    return Position(token=token, epoch=Epoch(int(fields["epoch"])))


def _overhead_bytes(event: EncodedEvent, batch: Batch) -> int:
    """Return what a message takes beside its payload, at most."""
    named = (event.subject, event.message_id, batch.marker_subject)
    return _HEADER_NAMES_BYTES + sum(map(len, named))


def _remedy(error: SinkRefusedError, command: str) -> str:
    """Return what heals a refusal to change the stream: JetStream's reason goes first."""
    if error.remedy and error.code is not None:
        return error.remedy
    either = f"{error.remedy}; or " if error.remedy else ""
    return f"{either}an operator can run: {command}"


def _command(verb: str, config: dict[str, object]) -> str:
    """Return the command that brings the stream to `config`."""
    action = "add" if verb == "CREATE" else "edit"
    subjects = config["subjects"]
    assert isinstance(subjects, list)  # noqa: S101 - made by stream_config
    return (
        f"nats stream {action} {config['name']} --subjects '{','.join(subjects)}' "
        "--allow-batch --allow-rollup --allow-msg-ttl"
    )
