"""References: a payload that is too large for the stream is kept elsewhere, the message says where.

It is a claim check: the message has the event's summary, and a field `payload` with the reference.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Final

import orjson

from mnc.model import EncodedEvent

__all__ = ["PAYLOAD_HEADER", "PayloadReference", "read_reference", "refer"]

PAYLOAD_HEADER: Final = "Mnc-Payload"
_IN_OBJECT_STORE: Final = "object-store"


@dataclass(frozen=True, slots=True, kw_only=True)
class PayloadReference:
    """Where a payload is in JetStream's object store, and how to know it again."""

    bucket: str
    object: str
    bytes: int
    sha256: str
    """In lower-case hexadecimal."""


def refer(event: EncodedEvent, reference: PayloadReference) -> EncodedEvent:
    """Return `event`, which has a summary, with `reference` in the place of its payload."""
    # A summary is an object of JSON that is never empty.
    payload = b'%b,"payload":%b}' % (event.summary[:-1], orjson.dumps(asdict(reference)))
    headers = (*event.headers, (PAYLOAD_HEADER, _IN_OBJECT_STORE))
    return event._replace(payload=payload, summary=b"", headers=headers)


def read_reference(headers: Mapping[str, str], payload: bytes) -> PayloadReference | None:
    """Return the reference that a message holds, or None when it has its payload itself.

    Raises ValueError when the message claims to hold one and doesn't.
    """
    if headers.get(PAYLOAD_HEADER) != _IN_OBJECT_STORE:
        return None
    match orjson.loads(payload):
        case {
            "payload": {
                "bucket": str(bucket),
                "object": str(name),
                "bytes": int(size),
                "sha256": str(sha256),
            }
        }:
            return PayloadReference(bucket=bucket, object=name, bytes=size, sha256=sha256)
        case _:
            raise ValueError("the message has no reference in its payload")
