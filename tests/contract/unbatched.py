"""Batches of events that say their tokens, as every event does, for streams without batches."""

from __future__ import annotations

from collections.abc import Sequence

import orjson
from tests.contract.streams import StreamHarness
from tests.fakes.values import event, token

from mnc.model import Checkpoint, EncodedEvent, Position, ResumeToken, StreamSeq
from mnc.publish.ports import Batch

__all__ = ["batch_of", "marker_of", "numbered", "numbers_of", "reached_at"]


def _event(number: int, *, stream: str, collection: str, type_bits: bytes | None) -> EncodedEvent:
    """Return event `number` with a payload that says its token, as every event's does."""
    encoded = event(number, stream=stream)
    resume_token: dict[str, object] = {"_data": encoded.token.data}
    if type_bits is not None:
        resume_token["_typeBits"] = {"$binary": {"base64": "gsAe", "subType": "00"}}
    return encoded._replace(
        token=ResumeToken(encoded.token.data, type_bits),
        subject=f"{stream}.{collection}.insert.{number}",
        payload=orjson.dumps({"_id": resume_token}),
    )


def batch_of(
    harness: StreamHarness,
    *numbers: int,
    fence: int = 0,
    collection: str = "users",
    type_bits: bytes | None = None,
) -> Batch:
    """Return a batch of events of one collection, by their numbers."""
    events = [
        _event(number, stream=harness.name, collection=collection, type_bits=type_bits)
        for number in numbers
    ]
    return Batch(
        events=events,
        marker_subject=marker_of(harness, collection),
        position=Position(token=events[-1].token),
        expected_seq=StreamSeq(fence),
    )


def marker_of(harness: StreamHarness, collection: str = "users") -> str:
    """Return the subject of a collection's marker."""
    return f"{harness.name}_position.{collection}"


def reached_at(number: int, seq: int) -> Checkpoint:
    """Return the position behind event `number`, with the fence `seq`."""
    return Checkpoint(position=Position(token=token(number)), stream_seq=StreamSeq(seq))


def numbered(position: Checkpoint) -> tuple[int, int]:
    """Return the number of the last event, and the fence."""
    return position.position.token.cluster_time.increment, position.stream_seq


async def numbers_of(harness: StreamHarness) -> Sequence[int]:
    """Return the numbers of the events that the stream holds, in order."""
    return [int(it.subject.split(".")[3]) for it in await harness.stored() if it.message_id]
