"""Events: a decoded change event becomes the message that the stream stores."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Final, get_args

from bson import Timestamp

from mnc.encode.hiding import Hiding
from mnc.encode.payload import to_extended_json
from mnc.encode.scalar import seconds
from mnc.encode.subject import SubjectForm, encode_name, event_subject
from mnc.encode.summary import DATA_ERRORS, SUMMARY_FROM_BYTES, summarize
from mnc.errors import Recovery, SinkError
from mnc.model import (
    DOCUMENT_OPERATIONS,
    TOKEN_LIMIT,
    EncodedEvent,
    Operation,
    ResumeToken,
    StoredOperation,
)

__all__ = ["Encoder", "EventUnencodableError"]

_OPERATIONS: Final[Mapping[object, StoredOperation]] = {
    **{name: name for name in get_args(Operation)},
    "read": "read",
}


class EventUnencodableError(SinkError):
    """A change event can't become a message: it isn't one, or holds what Extended JSON can't."""

    recovery = Recovery.WAIT
    kind = "event_unencodable"

    def __init__(self, operation: object, reason: str) -> None:
        super().__init__(
            f"a change event of operation {operation!r} can't be encoded: {reason}",
            remedy="its collection waits: update mnc, or set PUBLISH_ON_POISON=deadletter",
        )
        self.operation = operation


@dataclass(frozen=True, slots=True, kw_only=True)
class Encoder:
    """Encodes the change events of any collection for one stream."""

    stream: str
    """The stream's name, which begins every subject."""
    form: SubjectForm = SubjectForm()  # noqa: RUF009 - immutable
    """What subjects have in the place of the operation and the document id."""
    hiding: Hiding = Hiding()  # noqa: RUF009 - frozen
    """What is left out of events, or masked."""

    def encode(self, change: Mapping[str, object], collection: str, /) -> EncodedEvent:
        """Encode a change event, as `bson` decoded it, for `collection`, which it concerns.

        The document id is that of `documentKey`, which a delete and an update without a looked-up
        document have too; what happens to a whole collection or database has none. Raises
        EventUnencodableError.
        """
        change = self.hiding.apply(change)
        operation, token = self._identity(change)
        key = _document(change, "documentKey") if operation in DOCUMENT_OPERATIONS else {}
        try:
            # First: it holds all that the subject is made of, and refuses text that isn't Unicode.
            payload = to_extended_json(change)
            subject = event_subject(
                stream=self.stream,
                collection=collection,
                operation=operation,
                document_id=key.get("_id"),
                form=self.form,
            )
            committed_at_s = _committed_at_s(change)
        except DATA_ERRORS as error:
            raise _unencodable(change, _reason(error)) from error
        return EncodedEvent(
            token=token,
            operation=operation,
            subject=subject,
            message_id=_message_id(change, collection, token),
            payload=payload,
            committed_at_s=committed_at_s,
            summary=summarize(change, token) if len(payload) >= SUMMARY_FROM_BYTES else b"",
        )

    def remains(self, change: Mapping[str, object], collection: str, /) -> EncodedEvent:
        """Encode what can be of a change event that `encode` refuses: its summary.

        The subject ends with `k:null` when the document id can't be encoded, or isn't known.
        Raises EventUnencodableError when it is no change event.
        """
        change = self.hiding.apply(change)
        operation, token = self._identity(change)
        key = change.get("documentKey")
        try:
            subject = event_subject(
                stream=self.stream,
                collection=collection,
                operation=operation,
                document_id=key.get("_id") if isinstance(key, dict) else None,
                form=self.form,
            )
        except DATA_ERRORS:
            subject = event_subject(
                stream=self.stream,
                collection=collection,
                operation=operation,
                document_id=None,
                form=self.form,
            )
        return EncodedEvent(
            token=token,
            operation=operation,
            subject=subject,
            message_id=_message_id(change, collection, token),
            payload=summarize(change, token),
            committed_at_s=float(token.cluster_time.seconds),
        )

    def _identity(self, change: Mapping[str, object]) -> tuple[StoredOperation, ResumeToken]:
        operation = _OPERATIONS.get(change.get("operationType"))
        if operation is None:
            raise _unencodable(change, "no such operation is published")
        return operation, self.token_of(change)

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
        return seconds(wall_time)
    cluster_time = change.get("clusterTime")
    if isinstance(cluster_time, Timestamp):
        return float(cluster_time.time)
    raise _unencodable(change, "`clusterTime` is missing")


def _message_id(change: Mapping[str, object], collection: str, token: ResumeToken) -> str:
    """Return the resume token, or its digest when it is cut elsewhere.

    The stream keeps each message id in memory for as long as its duplicate window, and a header
    that is too large ends the connection. An event that concerns several collections is a message
    for each, so those that it doesn't name as its own have their name behind the token.
    """
    data = token.data
    if len(data) > TOKEN_LIMIT:
        whole = str(_document(change, "_id")["_data"])
        data = f"sha256:{hashlib.sha256(whole.encode()).hexdigest()}"
    namespace = change.get("ns")
    if isinstance(namespace, dict):
        own = namespace.get("coll")
        if collection == (f"{namespace.get('db')}.{own}" if "." in collection else own):
            return data
    return f"{data}:{encode_name(collection)}"


def _reason(error: Exception) -> str:
    """Say why encoding failed; only a TypeError names the type and never the value."""
    return str(error) if isinstance(error, TypeError) else type(error).__name__


def _document(change: Mapping[str, object], field: str) -> Mapping[str, object]:
    document = change.get(field)
    if not isinstance(document, dict):
        raise _unencodable(change, f"`{field}` is missing")
    return document


def _unencodable(change: Mapping[str, object], reason: str) -> EventUnencodableError:
    """Name the operation, but nothing else of the event: documents don't belong in messages."""
    return EventUnencodableError(change.get("operationType"), reason)
