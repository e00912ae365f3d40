"""Events: a decoded change event becomes the message that the stream stores."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Final, get_args

from bson import Timestamp

from mnc.encode.payload import to_extended_json
from mnc.encode.scalar import millis
from mnc.encode.subject import event_subject
from mnc.errors import Recovery, SinkError
from mnc.model import EncodedEvent, Operation, ResumeToken

__all__ = ["MESSAGE_ID_LIMIT", "Encoder", "EventUnencodableError"]

MESSAGE_ID_LIMIT: Final = 512
"""Characters of a resume token that is a message id as it is; a longer one's digest is.

A token holds the document's `_id`, which may be megabytes. The stream keeps each message id in
memory for as long as its duplicate window, and a header that is too large ends the connection.
"""

_OPERATIONS: Final[Mapping[object, Operation]] = {name: name for name in get_args(Operation)}


class EventUnencodableError(SinkError):
    """A change event can't become a message: it isn't one, or holds what Extended JSON can't."""

    recovery = Recovery.WAIT
    kind = "event_unencodable"

    def __init__(self, operation: object, reason: str) -> None:
        super().__init__(
            f"a change event of operation {operation!r} can't be encoded: {reason}",
            remedy="its collection waits: update mnc, and report this if it doesn't help",
        )
        self.operation = operation


@dataclass(frozen=True, slots=True, kw_only=True)
class Encoder:
    """Encodes the change events of any collection for one stream."""

    stream: str
    """The stream's name, which begins every subject."""

    def encode(self, change: Mapping[str, object], /) -> EncodedEvent:
        """Encode an insert, update, replace or delete, as `bson` decoded it.

        The document id is that of `documentKey`, which a delete and an update without a looked-up
        document have too. Raises EventUnencodableError.
        """
        operation = _OPERATIONS.get(change.get("operationType"))
        if operation is None:
            raise _unencodable(change, "only insert, update, replace and delete are published")
        token = self.token_of(change)
        collection = _document(change, "ns").get("coll")
        if not isinstance(collection, str):
            raise _unencodable(change, "`ns.coll` is missing")
        document_id = _document(change, "documentKey").get("_id")
        try:
            # First: it holds all that the subject is made of, and refuses text that isn't Unicode.
            payload = to_extended_json(change)
            subject = event_subject(
                stream=self.stream,
                collection=collection,
                operation=operation,
                document_id=document_id,
            )
        except (TypeError, RecursionError) as error:
            raise _unencodable(change, str(error)) from error
        return EncodedEvent(
            token=token,
            operation=operation,
            subject=subject,
            message_id=_message_id(token),
            payload=payload,
            committed_at_s=_committed_at_s(change),
        )

    @staticmethod
    def token_of(change: Mapping[str, object], /) -> ResumeToken:
        """Return the resume token of any change event. Raises EventUnencodableError."""
        token = _document(change, "_id")
        data, type_bits = token.get("_data"), token.get("_typeBits")
        if not isinstance(data, str) or not isinstance(type_bits, bytes | None):
            raise _unencodable(change, "`_id` is not a resume token")
        return ResumeToken(data, type_bits)


def _committed_at_s(change: Mapping[str, object]) -> float:
    wall_time = change.get("wallTime")  # since MongoDB 6.0, in milliseconds
    if isinstance(wall_time, datetime):
        return millis(wall_time) / 1000
    cluster_time = change.get("clusterTime")
    if isinstance(cluster_time, Timestamp):
        return float(cluster_time.time)
    raise _unencodable(change, "`clusterTime` is missing")


def _message_id(token: ResumeToken) -> str:
    if len(token.data) <= MESSAGE_ID_LIMIT:
        return token.data
    return f"sha256:{hashlib.sha256(token.data.encode()).hexdigest()}"


def _document(change: Mapping[str, object], field: str) -> Mapping[str, object]:
    document = change.get(field)
    if not isinstance(document, dict):
        raise _unencodable(change, f"`{field}` is missing")
    return document


def _unencodable(change: Mapping[str, object], reason: str) -> EventUnencodableError:
    """Name the operation, but nothing else of the event: documents don't belong in messages."""
    return EventUnencodableError(change.get("operationType"), reason)
