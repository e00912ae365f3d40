"""Snapshots: a document that was there already becomes an event, which says how far it is."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Final

import orjson

from mnc.model import Namespace, ResumeToken, Snapshot

__all__ = [
    "SNAPSHOT_HEADER",
    "header_of",
    "placed",
    "read_change",
    "snapshot_fields",
    "snapshot_of",
]

SNAPSHOT_HEADER: Final = "Mnc-Snapshot"
"""Where the stream has no markers, the last event says how far its collection is."""


def read_change(namespace: Namespace, document: Mapping[str, object]) -> Mapping[str, object]:
    """Return the change event that would have been: of operation `read`, with the whole document.

    It has no place yet: see `placed`.
    """
    return {
        "operationType": "read",
        "ns": {"db": namespace.database, "coll": namespace.collection},
        "documentKey": {"_id": document["_id"]},
        "fullDocument": document,
    }


def placed(
    change: Mapping[str, object], snapshot: Snapshot, *, read_at: datetime
) -> Mapping[str, object]:
    """Return a change of `read_change` with its place.

    `snapshot` is how far it is with this document, `read_at` the time in UTC without a time zone,
    as bson has it.
    """
    token = {"_data": snapshot.token.data}
    return {"_id": token, "operationType": "read", "wallTime": read_at, **change}


def header_of(snapshot: Snapshot) -> tuple[str, str]:
    """Return the header that says how far `snapshot` is."""
    return SNAPSHOT_HEADER, orjson.dumps(snapshot_fields(snapshot)).decode()


def snapshot_fields(snapshot: Snapshot) -> dict[str, object]:
    """Return what a position marker and a token document say of `snapshot`."""
    return {
        "since": snapshot.since.data,
        "documents": snapshot.documents,
        "after": snapshot.after,
    }


def snapshot_of(fields: object) -> Snapshot:
    """Read what `snapshot_fields` returned. Raises KeyError, TypeError or ValueError."""
    if not isinstance(fields, Mapping):
        raise TypeError("a snapshot is an object")
    return Snapshot(
        since=ResumeToken(str(fields["since"])),
        documents=int(fields["documents"]),
        after=str(fields["after"]),
    )
