"""One stream's part of JetStream's API: questions, and changes that may be asked for twice."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import orjson
from nats.aio.client import Client

from mnc.drivers.nats.replies import NO_MESSAGE, error_code, parse_reply, raise_error
from mnc.drivers.nats.session import NatsSession
from mnc.errors import OutcomeUnknownError, SinkUnavailableError
from mnc.model import StreamSeq

__all__ = ["LastMessage", "StreamApi"]


@dataclass(frozen=True, slots=True, kw_only=True)
class LastMessage:
    """The last message of a subject."""

    subject: str
    headers: Mapping[str, str]
    payload: bytes
    stream_seq: StreamSeq


class StreamApi:
    """Ask JetStream about one stream, and write to it; see the methods for the errors."""

    def __init__(self, session: NatsSession, *, stream: str, timeout_s: float) -> None:
        self.stream = stream
        self.session = session
        self._timeout_s = timeout_s

    async def ask(self, verb: str, body: object = None) -> dict[str, object]:
        """Return the answer, which may be an error's, to `verb` for the stream.

        Raises SinkUnavailableError when none comes, SinkRefusedError when the user may not ask.
        """
        try:
            return await self.session.call(self.query, verb, body)
        except OutcomeUnknownError as error:
            # What is asked here may be asked again.
            raise SinkUnavailableError(error.message) from error

    async def last_seq(self) -> StreamSeq:
        """Return the sequence of the last message that the stream ever had. Raises SinkError."""
        reply = await self.ask("STREAM.INFO")
        raise_error(reply, stream=self.stream)
        state = reply["state"]
        assert isinstance(state, dict)  # noqa: S101 - JetStream's own format
        return StreamSeq(int(state["last_seq"]))

    async def last_messages(self, subjects: Sequence[str]) -> Sequence[LastMessage | None]:
        """Return the last message of each of `subjects`, which may hold wildcards.

        They are asked for at the same time, in no order. Raises SinkError.
        """
        try:
            replies = await self.session.call(self._query_lasts, subjects)
        except OutcomeUnknownError as error:
            raise SinkUnavailableError(error.message) from error  # as in `ask`
        return [self._last_message(reply) for reply in replies]

    def _last_message(self, reply: dict[str, object]) -> LastMessage | None:
        if error_code(reply) == NO_MESSAGE:
            return None
        raise_error(reply, stream=self.stream)
        message = reply["message"]
        assert isinstance(message, dict)  # noqa: S101 - JetStream's own format
        return LastMessage(
            subject=message["subject"],
            headers=_headers(base64.b64decode(message.get("hdrs", ""))),
            payload=base64.b64decode(message.get("data", "")),
            stream_seq=StreamSeq(int(message["seq"])),
        )

    # --- on the asyncio side --------------------------------------------------------------------

    async def query(self, client: Client, verb: str, body: object = None) -> dict[str, object]:
        """Return the answer, which may be an error's, to `verb` for the stream.

        Raises OutcomeUnknownError when no answer comes.
        """
        payload = b"" if body is None else orjson.dumps(body)
        return await self.request(client, f"$JS.API.{verb}.{self.stream}", payload)

    async def _query_lasts(
        self, client: Client, subjects: Sequence[str]
    ) -> Sequence[dict[str, object]]:
        return await asyncio.gather(
            *(
                self.query(client, "STREAM.MSG.GET", {"last_by_subj": subject})
                for subject in subjects
            )
        )

    async def request(
        self,
        client: Client,
        subject: str,
        payload: bytes,
        headers: Mapping[str, str] | None = None,
    ) -> dict[str, object]:
        """Send a message and return JetStream's answer, which may be an error's.

        Raises OutcomeUnknownError when no answer comes.
        """
        answer = await self.session.request(
            client, subject, payload, timeout_s=self._timeout_s, headers=headers
        )
        return parse_reply(answer.data)


def _headers(block: bytes) -> Mapping[str, str]:
    """Read a block of headers, whose first line is the version."""
    _, *lines = block.decode(errors="replace").split("\r\n")
    return {
        name: value.strip()
        for name, found, value in (line.partition(":") for line in lines)
        if found
    }
