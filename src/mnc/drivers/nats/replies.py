"""What JetStream's answers mean, in this project's errors. Pure.

The codes are nats-server's `err_code`s.
"""

from __future__ import annotations

import orjson

from mnc.errors import (
    DuplicateInBatchError,
    FenceLostError,
    OutcomeUnknownError,
    PayloadTooLargeError,
    SinkError,
    SinkRefusedError,
    SinkUnavailableError,
    StreamFullError,
    StreamMissingError,
)

__all__ = [
    "NO_MESSAGE",
    "STREAM_NOT_FOUND",
    "error_code",
    "has_leader",
    "parse_reply",
    "raise_error",
]

STREAM_NOT_FOUND = 10059
NO_MESSAGE = 10037
_FENCE = {10071}
"""Wrong last sequence."""

_UNKNOWN = {10070}
"""Wrong last message id: the last of a row wasn't stored; how many before it were isn't said."""

_DUPLICATE = {10201, 10158}
"""A message id of the batch is stored already."""

_FULL = {10077, 10023, 10047, 10002}
"""Storing failed for want of room: the stream's limits, the account's, or the server's."""

_TOO_LARGE = {10054}
"""Over the stream's `max_msg_size`."""

_BUSY = {10164, 10176, 10199, 10210, 10211, 10008, 10009}
"""Another write is in flight, the batch went stale or was displaced, or there is no leader now."""

_REMEDIES = {
    10065: "take the subjects out of the other stream, or set NATS_STREAM_NAME to another name",
    10039: "enable JetStream for the account that mnc logs in to",
}
"""What to do about other refusals: overlapping subjects; an account without JetStream."""


def parse_reply(data: bytes) -> dict[str, object]:
    """Decode a JetStream answer. Raises OutcomeUnknownError when it isn't one."""
    try:
        reply = orjson.loads(data)
    except orjson.JSONDecodeError as error:
        raise OutcomeUnknownError("JetStream's answer is not JSON") from error
    if not isinstance(reply, dict):
        raise OutcomeUnknownError("JetStream's answer is not a JSON object")
    return reply


def error_code(reply: dict[str, object]) -> int | None:
    """Return the answer's `err_code`, or None when it isn't an error."""
    error = reply.get("error")
    if not isinstance(error, dict):
        return None
    return int(error.get("err_code") or error.get("code") or 0)


def has_leader(info: dict[str, object]) -> bool:
    """Say whether a stream can store, by what JetStream says of it.

    A node that has lost the others goes on answering, and names no leader, after about 20 s. A
    server that is in no cluster says nothing of one.
    """
    cluster = info.get("cluster")
    return not isinstance(cluster, dict) or bool(cluster.get("leader"))


def raise_error(reply: dict[str, object], *, stream: str) -> None:
    """Raise what an error answer about `stream` means; return when it is no error."""
    code = error_code(reply)
    if code is None:
        return
    error = reply["error"]
    described = error.get("description", "") if isinstance(error, dict) else ""
    message = f"stream {stream}: {described} (code {code})"
    kind: type[SinkError]
    if code in _FENCE:
        kind = FenceLostError
    elif code in _UNKNOWN:
        kind = OutcomeUnknownError
    elif code in _DUPLICATE:
        kind = DuplicateInBatchError
    elif code in _FULL:
        raise StreamFullError(
            message,
            remedy="make room: raise the stream's limits, or remove messages from it",
            code=code,
        )
    elif code in _TOO_LARGE:
        raise PayloadTooLargeError(message, remedy="raise the stream's max_msg_size", code=code)
    elif code == STREAM_NOT_FOUND:
        kind = StreamMissingError
    elif code in _BUSY:
        kind = SinkUnavailableError
    else:
        kind = SinkRefusedError
    raise kind(message, remedy=_REMEDIES.get(code, ""), code=code)
