"""What an operator does to a stream, by mistake or on purpose, while it is in use."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Mapping
from typing import Any

import nats
from tests.jetstream import ask_jetstream

__all__ = ["Operator", "Undo"]

Undo = Callable[[], None]
"""Takes back what was done."""


class Operator:
    """A person with all rights on one stream, who doesn't know mnc.

    What can be taken back returns the function that does.
    """

    def __init__(self, url: str, stream: str) -> None:
        self._url = url
        self._stream = stream

    def info(self) -> Mapping[str, Any]:
        """Return what JetStream says of the stream."""
        return self._ask("STREAM.INFO")

    def amend(self, **settings: object) -> Undo:
        """Change settings of the stream."""
        config = self.info()["config"]
        self._ask("STREAM.UPDATE", {**config, **settings})
        before = {name: config.get(name) for name in settings}  # null is the default
        return lambda: self._restore(before)

    def purge(self) -> None:
        """Remove all messages."""
        self._ask("STREAM.PURGE")

    def delete(self) -> None:
        """Delete the stream."""
        self._ask("STREAM.DELETE")

    def make_anew(self, **settings: object) -> None:
        """Delete the stream and create it with `<stream>.>` as its only subject.

        Both in one go: otherwise a connector creates it in between.
        """
        config = {"name": self._stream, "subjects": [f"{self._stream}.>"], **settings}

        async def ask_twice() -> bytes:
            client = await nats.connect(self._url)
            try:
                await client.request(f"$JS.API.STREAM.DELETE.{self._stream}")
                create = f"$JS.API.STREAM.CREATE.{self._stream}"
                return (await client.request(create, json.dumps(config).encode())).data
            finally:
                await client.close()

        answer = json.loads(asyncio.run(ask_twice()))
        assert "error" not in answer, answer

    def limit_messages(self, *, room: int) -> Undo:
        """Leave room for so many more messages."""
        return self.amend(max_msgs=self.info()["state"]["messages"] + room)

    def limit_bytes(self, *, room: int) -> Undo:
        """Leave room for so many more bytes."""
        return self.amend(max_bytes=self.info()["state"]["bytes"] + room)

    def _restore(self, settings: Mapping[str, object]) -> None:
        self.amend(**settings)

    def _ask(self, verb: str, body: Mapping[str, object] | None = None) -> dict[str, Any]:
        answer = ask_jetstream(self._url, f"{verb}.{self._stream}", body)
        assert "error" not in answer, answer
        return answer
