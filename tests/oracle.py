"""The oracle: says whether a stream holds exactly what MongoDB committed, event by event.

It reads the change stream a second time with pymongo alone, from a time noted before the first
write, and the whole JetStream stream in its order, and compares the two by collection. Nothing of
mnc's own code takes part, so that an error there can't hide itself here.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, NamedTuple
from uuid import uuid4

from bson.timestamp import Timestamp
from pymongo import MongoClient
from pymongo.database import Database
from pymongo.errors import AutoReconnect, OperationFailure
from tests.jetstream import StoredMessage, read_messages, visit_messages
from tests.snapshots import is_read
from tests.waiting import wait_until

__all__ = ["Event", "Oracle", "Report", "compare"]

_OPERATIONS = frozenset({"insert", "update", "replace", "delete"})
_SENTINEL = "oracle_sentinel"
_SKETCH = {
    "$project": {
        "operationType": 1,
        "ns": 1,
        "sentinel": {"$cond": [{"$eq": ["$ns.coll", _SENTINEL]}, "$documentKey._id", None]},
    }
}
"""Without the documents' keys, which may be megabytes."""
_DIFFERENCES = 20
_TOKEN_SHOWN = 60
_TOKEN_LIMIT = 512


class Event(NamedTuple):
    """What identifies an event on both sides."""

    collection: str
    token: str
    operation: str

    def __str__(self) -> str:
        return f"{self.operation} {self.token[:_TOKEN_SHOWN]}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """How a stream differs from the change stream, counted in events."""

    expected: int
    lost: int
    duplicated: int
    misordered: int
    """Events that stand behind one of their collection that was committed later."""
    unexpected: int
    """Stored events that MongoDB never had."""
    differences: tuple[str, ...]
    """The first differences of each collection, one a line."""

    @property
    def is_exact(self) -> bool:
        """Whether every expected event is stored once and in order, and there was at least one."""
        wrong = self.lost + self.duplicated + self.misordered + self.unexpected
        return self.expected > 0 and wrong == 0

    def __str__(self) -> str:
        counts = (
            f"expected {self.expected}, lost {self.lost}, duplicated {self.duplicated}, "
            f"misordered {self.misordered}, unexpected {self.unexpected}"
        )
        return "\n  ".join((counts, *self.differences))


def compare(expected: Sequence[Event], stored: Sequence[Event]) -> Report:
    """Compare what MongoDB committed with what a stream holds, both in their order. Pure."""
    index_of = {event: index for index, event in enumerate(expected)}
    assert len(index_of) == len(expected), "MongoDB gave an event twice"
    differences: dict[str, list[str]] = {}
    counts: Counter[str] = Counter()

    def differ(kind: str, event: Event, where: str) -> None:
        counts[kind] += 1
        differences.setdefault(event.collection, []).append(f"{kind}: {event} {where}")

    seen: dict[Event, int] = {}
    newest: dict[str, int] = {}
    for position, event in enumerate(stored):
        where = f"stored as {position} of {len(stored)}"
        index = index_of.get(event)
        if index is None:
            differ("unexpected", event, where)
            continue
        if event in seen:
            differ("duplicated", event, f"{where} and as {seen[event]}")
            continue
        seen[event] = position
        if index < newest.get(event.collection, -1):
            differ("misordered", event, where)
        newest[event.collection] = max(index, newest.get(event.collection, -1))
    for index, event in enumerate(expected):
        if event not in seen:
            differ("lost", event, f"committed as {index} of {len(expected)}")
    return Report(
        expected=len(expected),
        lost=counts["lost"],
        duplicated=counts["duplicated"],
        misordered=counts["misordered"],
        unexpected=counts["unexpected"],
        differences=tuple(
            f"{collection}: {line}"
            for collection, lines in differences.items()
            for line in lines[:_DIFFERENCES]
        ),
    )


class Oracle:
    """Compare the collections of one database with one stream, from now on.

    What the stream has of other databases is left alone. Make it BEFORE the first write, and ask it
    after the last.
    """

    def __init__(
        self,
        *,
        mongo_uri: str,
        database: str,
        collections: Collection[str],
        nats_url: str,
        stream: str,
    ) -> None:
        self._mongo_uri = mongo_uri
        self._database = database
        self._collections = list(collections)
        self._nats_url = nats_url
        self._stream = stream
        self._marker_prefix = f"{stream}_position."
        self._dead_letter_prefix = f"{stream}_deadletter."
        with MongoClient[dict[str, Any]](mongo_uri) as client:
            now: Timestamp = client.admin.command("ping")["operationTime"]
        self._since = Timestamp(now.time, now.inc + 1)

    def report(self, *, timeout_s: float = 0) -> Report:
        """Read both sides and compare.

        Waits up to `timeout_s` seconds for events that the stream doesn't hold yet, but never for
        an event too many to come: ask once more when the writers of the stream have ended.
        """
        expected = self.committed()
        stored: list[Event] = []
        missing = set(expected)
        next_seq = 1

        def note(message: StoredMessage) -> None:
            nonlocal next_seq
            next_seq = message.stream_seq + 1
            if not self._is_event(message):
                return
            change = json.loads(message.payload)
            if change["ns"]["db"] == self._database:
                event = _stored_event(message, change)
                stored.append(event)
                missing.discard(event)

        def is_complete() -> bool:
            visit_messages(self._nats_url, self._stream, note, first_seq=next_seq)
            return not missing

        with suppress(AssertionError):  # the report says what is missing, and more
            wait_until(is_complete, timeout_s=timeout_s, what="the stream to be complete")
        return compare(expected, stored)

    def messages(self) -> Sequence[StoredMessage]:
        """Return the stream's messages that carry changes, dead letters too, in order."""
        return [message for message in self.everything() if self._is_event(message)]

    def everything(self) -> Sequence[StoredMessage]:
        """Return the stream's messages but for position markers: what snapshots read, too."""
        stored = read_messages(self._nats_url, self._stream)
        return [it for it in stored if not it.subject.startswith(self._marker_prefix)]

    def dead_letters(self) -> Sequence[StoredMessage]:
        """Return the messages that carry an event to the dead letters, in order."""
        prefix = self._dead_letter_prefix
        return [message for message in self.messages() if message.subject.startswith(prefix)]

    def committed(self) -> Sequence[Event]:
        """Read the change stream again, up to now."""
        wanted = [
            {"ns.coll": {"$in": [*self._collections, _SENTINEL]}},
            {"operationType": {"$in": ["dropDatabase", "invalidate"]}},
        ]
        position: Mapping[str, Any] = {"start_at_operation_time": self._since}
        events: list[Event] = []
        with MongoClient[dict[str, Any]](self._mongo_uri) as client:
            database = client[self._database]
            last = uuid4().hex
            database[_SENTINEL].insert_one({"_id": last})
            batch_size: int | None = None
            while True:
                try:
                    changes = self._watch(database, wanted, batch_size=batch_size, **position)
                    for change in changes:
                        position = {"start_after": change["_id"]}
                        if change["operationType"] not in _OPERATIONS:
                            continue
                        if change["ns"]["coll"] != _SENTINEL:
                            events.append(_event(change))
                        elif change["sentinel"] == last:
                            return events
                except (AutoReconnect, OperationFailure):
                    # A reply was too large, as with tokens of megabytes; it may end a connection.
                    if batch_size == 1:
                        raise
                    batch_size = 1

    @staticmethod
    def _watch(
        database: Database[dict[str, Any]], wanted: Sequence[Mapping[str, Any]], **options: Any
    ) -> Iterator[Mapping[str, Any]]:
        """Give changes until the stream ends, as a dropped database makes it."""
        with database.watch([{"$match": {"$or": wanted}}, _SKETCH], **options) as changes:
            yield from changes

    def _is_event(self, message: StoredMessage) -> bool:
        """Leave out markers, and the documents of snapshots, which are no changes."""
        return not (message.subject.startswith(self._marker_prefix) or is_read(message))


def _event(change: Mapping[str, Any]) -> Event:
    token = change["_id"]["_data"]
    if len(token) > _TOKEN_LIMIT:  # where the payload is left out, a long token is cut
        token = f"{token[:_TOKEN_LIMIT]}G"
    return Event(change["ns"]["coll"], token, change["operationType"])


def _stored_event(message: StoredMessage, change: Mapping[str, Any]) -> Event:
    """Say which event a message is; its subject has to agree with its payload, `change`.

    A dead letter has the subject that it would have had in a header.
    """
    event = _event(change)
    subject = message.headers.get("Mnc-Subject", message.subject)
    assert subject.split(".")[2] == event.operation, subject
    return event
