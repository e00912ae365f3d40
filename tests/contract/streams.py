"""Both kinds of stream behind one handle, so that one test holds them to the same claims."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import trio
from tests.fakes.stream import FakeStream
from tests.jetstream import ask_jetstream, read_messages

from mnc.drivers.nats.stream import JetStream
from mnc.model import EncodedEvent
from mnc.publish.ports import StreamPort

__all__ = ["FakeStreamHarness", "JetStreamHarness", "Stored", "StreamHarness"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Stored:
    """A message as the stream holds it; a marker has no id, and a payload on the real one only."""

    stream_seq: int
    subject: str
    message_id: str | None
    payload: bytes | None


class StreamHarness(Protocol):
    """A port, and what else a test does with the stream behind it."""

    name: str

    @property
    def port(self) -> StreamPort:
        """What is under test."""
        ...

    async def stored(self) -> Sequence[Stored]:
        """Return everything that the stream holds, in order."""
        ...

    async def delete(self) -> None:
        """Delete the stream."""
        ...

    async def purge(self) -> None:
        """Remove every message of the stream."""
        ...

    async def limit(self, max_messages: int) -> None:
        """Bound the number of messages."""
        ...


class FakeStreamHarness:
    """The fake, which has what a test needs on itself."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.port = FakeStream()

    async def stored(self) -> Sequence[Stored]:
        """Return everything that the stream holds, in order."""
        return [
            Stored(
                stream_seq=message.stream_seq,
                subject=message.subject,
                message_id=content.message_id if isinstance(content, EncodedEvent) else None,
                payload=content.payload if isinstance(content, EncodedEvent) else None,
            )
            for message in self.port.messages
            for content in [message.content]
        ]

    async def delete(self) -> None:
        """Delete the stream."""
        self.port.delete()

    async def purge(self) -> None:
        """Remove every message of the stream."""
        self.port.purge()

    async def limit(self, max_messages: int) -> None:
        """Bound the number of messages."""
        self.port.max_messages = max_messages


class JetStreamHarness:
    """The driver, and a connection of the test's own beside it."""

    def __init__(
        self, port: JetStream, *, url: str, name: str, port_url: str | None = None
    ) -> None:
        self.name = name
        self.port = port
        self.url = url
        self.port_url = port_url or url
        """Where the driver connects, as a user of its own when that isn't `url`."""

    async def ask(self, verb: str, body: Mapping[str, object] | None = None) -> dict[str, object]:
        """Send one request of JetStream's API, and return its answer."""
        return await trio.to_thread.run_sync(ask_jetstream, self.url, f"{verb}.{self.name}", body)

    async def stored(self) -> Sequence[Stored]:
        """Return everything that the stream holds, in order."""
        messages = await trio.to_thread.run_sync(read_messages, self.url, self.name)
        return [
            Stored(
                stream_seq=message.stream_seq,
                subject=message.subject,
                message_id=message.headers.get("Nats-Msg-Id"),
                payload=message.payload,
            )
            for message in messages
        ]

    async def delete(self) -> None:
        """Delete the stream."""
        await self.ask("STREAM.DELETE")

    async def purge(self) -> None:
        """Remove every message of the stream."""
        await self.ask("STREAM.PURGE")

    async def limit(self, max_messages: int) -> None:
        """Bound the number of messages."""
        await self.amend({"max_msgs": max_messages})

    async def amend(self, settings: Mapping[str, object]) -> None:
        """Change settings of the stream, as its operator does."""
        info = await self.ask("STREAM.INFO")
        config = info["config"]
        assert isinstance(config, dict)
        answer = await self.ask("STREAM.UPDATE", {**config, **settings})
        assert "error" not in answer
