"""A writer: random changes to a few collections, seeded and counted, in a thread of its own."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from types import TracebackType
from typing import Any, Self

from bson import Binary, Decimal128, Int64, ObjectId
from pymongo import MongoClient
from pymongo.client_session import ClientSession
from pymongo.collection import Collection
from pymongo.errors import ConnectionFailure, OperationFailure, PyMongoError
from tests.waiting import wait_until

__all__ = ["MakeId", "Writer", "plain_id"]

Document = dict[str, Any]

MakeId = Callable[[random.Random, int], object]
"""Makes an `_id` from a number that it gets only once, so that no two are one key."""

_PAUSE_S = 0.003
_TRANSACTION_SHARE = 0.07
_MOST_EVENTS = 5
"""What one write causes at most."""

_DROP_PENDING = 215

_LARGE_SHARE = 0.01
_LARGE_CHARACTERS = 20_000


def plain_id(rng: random.Random, number: int) -> object:
    """Make an `_id` of an everyday type."""
    return rng.choice((number, f"name-{number}", ObjectId(rng.randbytes(12))))


class Writer:
    """Write from entering a `with` block to leaving it, which raises what went wrong meanwhile.

    Invariants: `events` is the number of change events of the writes that MongoDB acknowledged;
    `uncertain` bounds those of the writes that it didn't answer because it was down.
    """

    def __init__(
        self,
        mongo_uri: str,
        database: str,
        collections: Sequence[str],
        *,
        seed: int,
        make_id: MakeId = plain_id,
        pause_s: float = _PAUSE_S,
    ) -> None:
        self.events = 0
        self.uncertain = 0
        self._mongo_uri = mongo_uri
        self._database = database
        self._rng = random.Random(seed)
        self._make_id = make_id
        self._pause_s = pause_s
        self._present: dict[str, list[object]] = {name: [] for name in collections}
        self._deleted: dict[str, list[object]] = {name: [] for name in collections}
        self._made = 0
        self._stopped = threading.Event()
        self._failure: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name=f"writer with seed {seed}")

    @property
    def possible_events(self) -> range:
        """How many change events there can be; one number unless MongoDB was down."""
        return range(self.events, self.events + self.uncertain + 1)

    def wait_for_events(self, count: int, *, timeout_s: float = 30) -> None:
        """Wait until the writes have caused `count` more change events."""
        enough = self.events + count
        wait_until(
            lambda: self.events >= enough or self._failure is not None,
            timeout_s=timeout_s,
            what=f"{count} more events to be written",
        )

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, _: type[BaseException] | None, __: BaseException | None, ___: TracebackType | None
    ) -> None:
        self._stopped.set()
        self._thread.join()
        if self._failure is not None:
            raise self._failure

    # --- in the thread ---------------------------------------------------------------------------

    def _run(self) -> None:
        try:
            with MongoClient[Document](self._mongo_uri) as client:
                while not self._stopped.wait(self._pause_s * self._rng.expovariate(1)):
                    self._write(client)
        except BaseException as error:  # noqa: BLE001 - raised again in the test's thread
            self._failure = error

    def _write(self, client: MongoClient[Document]) -> None:
        names = self._rng.choices(list(self._present), k=self._rng.randint(2, _MOST_EVENTS))
        collections = [client[self._database][name] for name in names]
        try:
            if self._rng.random() < _TRANSACTION_SHARE:
                with client.start_session() as session, session.start_transaction():
                    events = sum(self._change_one(each, session) for each in collections)
            elif self._rng.random() < _TRANSACTION_SHARE:
                events = self._update_some(collections[0])
            else:
                events = self._change_one(collections[0], None)
        except PyMongoError as error:
            if not _is_outage(error):
                raise
            self.uncertain += _MOST_EVENTS
            for ids in self._deleted.values():
                ids.clear()  # some may be there still
        else:
            self.events += events

    def _change_one(self, collection: Collection[Document], session: ClientSession | None) -> int:
        """Insert, update, replace or delete one document; return the number of events."""
        rng, present = self._rng, self._present[collection.name]
        operation = rng.choices(("insert", "update", "replace", "delete"), (40, 30, 15, 15))[0]
        if operation == "insert" or not present:
            document_id = self._next_id(collection.name)
            present.append(document_id)
            collection.insert_one({"_id": document_id, **_content(rng)}, session=session)
            return 1
        index = rng.randrange(len(present))
        key = {"_id": present[index]}
        if operation == "update":
            return collection.update_one(key, _update(rng), session=session).modified_count
        if operation == "replace":
            return collection.replace_one(key, _content(rng), session=session).modified_count
        self._deleted[collection.name].append(present.pop(index))
        return collection.delete_one(key, session=session).deleted_count

    def _update_some(self, collection: Collection[Document]) -> int:
        present = self._present[collection.name]
        chosen = self._rng.sample(present, min(len(present), _MOST_EVENTS))
        return collection.update_many({"_id": {"$in": chosen}}, _update(self._rng)).modified_count

    def _next_id(self, name: str) -> object:
        """Make an `_id`, or take one again whose document was deleted."""
        deleted = self._deleted[name]
        if deleted and self._rng.random() < 0.2:
            return deleted.pop()
        self._made += 1
        return self._make_id(self._rng, self._made)


def _is_outage(error: PyMongoError) -> bool:
    """Say whether MongoDB was down; by its labels too, which it gives to interrupted writes.

    While a database is being dropped, nothing can be written to it either.
    """
    if isinstance(error, OperationFailure) and error.code == _DROP_PENDING:
        return True
    labels = ("TransientTransactionError", "UnknownTransactionCommitResult", "RetryableWriteError")
    return isinstance(error, ConnectionFailure) or any(map(error.has_error_label, labels))


def _content(rng: random.Random) -> Document:
    """Make a document without its `_id`; `n` is a number, `tags` an array, `nested` a document."""
    large = rng.random() < _LARGE_SHARE
    return {
        "stamp": rng.random(),
        "n": rng.randrange(1000),
        "text": "x" * (_LARGE_CHARACTERS if large else rng.randrange(300)),
        "tags": [_value(rng) for _ in range(rng.randrange(5))],
        "nested": {"a": _value(rng), "b": {"c": _value(rng)}},
    }


def _update(rng: random.Random) -> Document | list[Document]:
    """Make an update that changes any document that `_content` made, and leaves it one."""
    if rng.random() < 0.2:  # only a pipeline shortens an array so that the event says so
        return [{"$set": {"stamp": rng.random(), "tags": {"$slice": ["$tags", rng.randint(1, 3)]}}}]
    update: Document = rng.choice(
        (
            {"$set": {"nested.a": _value(rng), "extra": _value(rng)}},
            {"$set": {"nested.b.d": _value(rng), f"tags.{rng.randrange(5)}": _value(rng)}},
            {"$inc": {"n": 1}},
            {"$push": {"tags": _value(rng)}},
            {"$pop": {"tags": rng.choice((-1, 1))}},
            {"$unset": {"text": "", "nested.a": "", "nested.b.c": ""}},
            {"$rename": {"text": "label"}},
        )
    )
    return update | {"$set": {"stamp": rng.random(), **update.get("$set", {})}}


def _value(rng: random.Random) -> object:
    """Make a value of a field."""
    return rng.choice(
        (
            rng.randrange(-1000, 1000),
            Int64(rng.randrange(2**40)),
            rng.uniform(-1e9, 1e9),
            f"žluťoučký {rng.random()}",
            None,
            rng.random() < 0.5,
            datetime.fromtimestamp(rng.randrange(2**31), UTC),
            Decimal128(f"{rng.randrange(10**9)}.50"),
            Binary(rng.randbytes(rng.randrange(20))),
            ObjectId(rng.randbytes(12)),
            [1, {"in": [rng.random()]}],
            {"x": {"y": rng.random()}},
        )
    )
