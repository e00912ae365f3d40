"""Split a reply of a database's change stream into its collections' encoded events. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from mnc.capture.completeness import Lack, lacks
from mnc.capture.ports import ChangeDocument
from mnc.errors import MncError
from mnc.model import EncodedEvent, ResumeToken, collection_key

__all__ = [
    "FIRST_BATCH_SIZE",
    "MAX_BATCH_SIZE",
    "REPLY_TARGET_BYTES",
    "Encode",
    "Lot",
    "Operations",
    "demultiplex",
    "next_batch_size",
]

FIRST_BATCH_SIZE = 32
"""Events asked for before the documents' size is known: 3 MB of 100 KB documents."""

MAX_BATCH_SIZE = 1000
"""Events asked for at most; more don't make an event cheaper, and decoded they take 5 MB."""

REPLY_TARGET_BYTES = 512 * 1024
"""The size of reply to aim at: a reader holds up to three replies outside the byte budget."""


Operations = Callable[[str], Collection[str]]
"""Returns the operations of a collection that are captured."""


class Encode(Protocol):
    """How a change event becomes a message; `mnc.encode` provides it."""

    def encode(self, change: ChangeDocument, collection: str, /) -> EncodedEvent:
        """Encode a change event for `collection`. Raises MncError when it can't be."""
        ...

    def token_of(self, change: ChangeDocument, /) -> ResumeToken:
        """Return the event's resume token."""
        ...


@dataclass(slots=True, kw_only=True)
class Lot:
    """What a reply holds for one collection."""

    events: list[EncodedEvent] = field(default_factory=list)
    lacks: Counter[Lack] = field(default_factory=Counter)
    """How many of `events` lack what."""
    error: MncError | None = None
    """Why the event that follows `events` can't be encoded; nothing after it is taken."""


def demultiplex(
    changes: Iterable[ChangeDocument],
    *,
    frontiers: Mapping[str, ResumeToken],
    home: str,
    operations: Operations,
    encode: Encode,
) -> Mapping[str, Lot]:
    """Encode what is wanted: collections in `frontiers`, after their frontier, of their operations.

    Collections go by their keys, `home` being the database that MONGO_URI names. The events of one
    keep their order. An event that concerns several is encoded for each.
    """
    lots: dict[str, Lot] = {}
    for change in changes:
        for collection in _concerned(change, frontiers, home):
            frontier = frontiers.get(collection)
            if frontier is None or change["operationType"] not in operations(collection):
                continue
            lot = lots.get(collection)
            if lot is None:
                if encode.token_of(change) <= frontier:
                    continue
                lot = lots[collection] = Lot()  # what follows in the reply is later still
            if lot.error is not None:
                continue
            try:
                lot.events.append(encode.encode(change, collection))
            except MncError as error:
                lot.error = error
            else:
                for lack in lacks(change):
                    lot.lacks[lack] += 1
    return lots


def _concerned(change: ChangeDocument, collections: Collection[str], home: str) -> Collection[str]:
    """Return the collections that a change concerns, of a database with `collections` and others.

    A rename concerns two; what happens to the database concerns all.
    """
    # Matching the event as a whole would cost two microseconds, for every one of them.
    key = _key(change.get("ns"), home)
    if key is None:
        return collections
    target = _key(change.get("to"), home) if change["operationType"] == "rename" else None
    return (key,) if target is None else (key, target)


def _key(namespace: object, home: str) -> str | None:
    if not isinstance(namespace, dict):
        return None
    database, collection = namespace.get("db"), namespace.get("coll")
    if isinstance(database, str) and isinstance(collection, str):
        return collection_key(database, collection, home=home)
    return None


def next_batch_size(current: int, *, events: int, size_bytes: int) -> int:
    """Choose how many events to ask for, from what the last reply of `events` events weighed.

    Aims at REPLY_TARGET_BYTES; grows by at most four times at once, so that a few small events
    before a row of large ones don't lead to a reply far over the target. An empty reply says
    nothing.
    """
    if events == 0:
        return current
    fitting = REPLY_TARGET_BYTES * events // max(size_bytes, 1)
    return max(1, min(fitting, current * 4, MAX_BATCH_SIZE))
