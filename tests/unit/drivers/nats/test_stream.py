"""What the stream's health check makes of JetStream's answers."""

from __future__ import annotations

from typing import Any, cast

import pytest

from mnc.drivers.nats.session import NatsSession
from mnc.drivers.nats.stream import JetStream
from mnc.encode.subject import stream_subjects
from mnc.errors import SinkUnavailableError


class _Session:
    """A session whose every call has the same answer."""

    def __init__(self, answer: dict[str, object]) -> None:
        self._answer = answer

    async def call(self, *_: Any) -> dict[str, object]:
        return self._answer


def _stream(answer: dict[str, object]) -> JetStream:
    session = cast("NatsSession", _Session(answer))
    return JetStream(session, stream="cs", subjects=stream_subjects("cs"), ack_timeout_s=1)


async def test_a_stream_without_a_leader_is_down() -> None:
    """A node that has lost the others goes on answering, but the stream stores nothing."""
    with pytest.raises(SinkUnavailableError, match="no leader"):
        await _stream({"config": {"name": "cs"}, "cluster": {"replicas": []}}).check()


async def test_a_stream_that_is_led_or_does_not_exist_is_up() -> None:
    """A single server names no cluster; a stream that is yet to be made is no fault."""
    answers: tuple[dict[str, object], ...] = (
        {"config": {}, "cluster": {"leader": "n1"}},
        {"config": {}},
        {"error": {"code": 404, "err_code": 10059, "description": "stream not found"}},
    )
    for answer in answers:
        await _stream(answer).check()
