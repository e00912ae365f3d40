"""Splitting a reply into its collections' events, and how much to ask for next."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from hypothesis import given
from hypothesis import strategies as st
from tests.fakes.values import event, token

from mnc.capture.completeness import Lack
from mnc.capture.demultiplex import (
    FIRST_BATCH_SIZE,
    MAX_BATCH_SIZE,
    REPLY_TARGET_BYTES,
    demultiplex,
    next_batch_size,
)
from mnc.encode.event import EventUnencodableError
from mnc.model import EncodedEvent, ResumeToken

_OPERATIONS = frozenset({"insert", "update", "rename", "dropDatabase", "invalidate"})


class _Encode:
    """Encodes changes that hold little more than their number; some can't be."""

    def __init__(self, *unencodable: int) -> None:
        self._unencodable = unencodable

    def encode(self, change: Mapping[str, object], _: str, /) -> EncodedEvent:
        number = change["number"]
        assert isinstance(number, int)
        if number in self._unencodable:
            raise EventUnencodableError("insert", "the test says so")
        return event(number)

    def token_of(self, change: Mapping[str, object], /) -> ResumeToken:
        number = change["number"]
        assert isinstance(number, int)
        return token(number)


def _change(number: int, collection: str, operation: str = "insert") -> Mapping[str, object]:
    return {
        "number": number,
        "operationType": operation,
        "ns": {"db": "test", "coll": collection},
    }


def _split(
    changes: Sequence[Mapping[str, object]],
    frontiers: Mapping[str, int],
    encode: _Encode | None = None,
) -> Mapping[str, Sequence[int]]:
    lots = demultiplex(
        changes,
        frontiers={name: token(number) for name, number in frontiers.items()},
        home="test",
        operations=lambda _: _OPERATIONS,
        encode=encode or _Encode(),
    )
    return {
        name: [it.token.cluster_time.increment for it in lot.events] for name, lot in lots.items()
    }


def test_each_collection_gets_its_events_in_order() -> None:
    """Events keep their order within their collection."""
    changes = [_change(1, "a"), _change(2, "b"), _change(3, "a"), _change(4, "b"), _change(5, "a")]
    assert _split(changes, {"a": 0, "b": 0}) == {"a": [1, 3, 5], "b": [2, 4]}


def test_what_was_delivered_is_skipped() -> None:
    """An event at or before its collection's frontier is left out; each has its own frontier."""
    changes = [_change(number, name) for number in (1, 2, 3) for name in ("a", "b")]
    assert _split(changes, {"a": 1, "b": 2}) == {"a": [2, 3], "b": [3]}
    assert _split(changes, {"a": 3, "b": 0}) == {"b": [1, 2, 3]}


def test_what_nobody_wants_is_skipped() -> None:
    """Collections without a route and operations that aren't wanted are left out."""
    changes = [
        _change(1, "a"),
        _change(2, "unwatched"),
        _change(3, "a", "delete"),
        _change(4, "a", "drop"),
    ]
    assert _split(changes, {"a": 0}) == {"a": [1]}


def test_each_collection_has_operations_of_its_own() -> None:
    """An operation that one collection wants and another doesn't goes to the one alone."""
    rename = {**_change(3, "a", "rename"), "to": {"db": "test", "coll": "b"}}
    lots = demultiplex(
        [_change(1, "a"), _change(2, "b"), rename],
        frontiers={"a": token(0), "b": token(0)},
        home="test",
        operations={"a": {"insert"}, "b": {"rename"}}.__getitem__,
        encode=_Encode(),
    )
    assert {name: [it.token for it in lot.events] for name, lot in lots.items()} == {
        "a": [token(1)],
        "b": [token(3)],
    }


def test_a_rename_concerns_both_its_collections() -> None:
    """Whoever watches the old name or the new one hears of it, whoever watches both twice."""
    change = {**_change(1, "a", "rename"), "to": {"db": "test", "coll": "b"}}
    assert _split([change], {"a": 0, "b": 0, "c": 0}) == {"a": [1], "b": [1]}
    assert _split([change], {"b": 0}) == {"b": [1]}
    assert _split([change], {"a": 1, "b": 0}) == {"b": [1]}


def test_what_happens_to_the_database_concerns_all_its_collections() -> None:
    """A `dropDatabase` has no collection, an `invalidate` not even a namespace."""
    changes = [
        {"number": 1, "operationType": "dropDatabase", "ns": {"db": "test"}},
        {"number": 2, "operationType": "invalidate"},
    ]
    assert _split(changes, {"a": 0, "b": 1}) == {"a": [1, 2], "b": [2]}


def test_collections_go_by_their_keys() -> None:
    """A name with a dot, and any name of another database, has the database before it."""
    rename = {**_change(2, "b.c", "rename"), "to": {"db": "test", "coll": "d"}}
    assert _split([_change(1, "a"), rename], {"a": 0, "test.b.c": 0, "d": 0, "b.c": 0}) == {
        "a": [1],
        "test.b.c": [2],
        "d": [2],
    }
    other = {**_change(3, "a"), "ns": {"db": "crm", "coll": "a"}}
    alike = {**_change(4, "crm.a"), "ns": {"db": "crm", "coll": "crm.a"}}
    dropped = {"number": 5, "operationType": "dropDatabase", "ns": {"db": "crm"}}
    assert _split([other, alike, dropped], {"crm.a": 0, "crm.b": 0}) == {
        "crm.a": [3, 5],
        "crm.b": [5],
    }


def test_nothing_follows_an_event_that_cannot_be_encoded() -> None:
    """Such an event ends its collection's lot, with the error; other collections go on."""
    changes = [_change(number, name) for number in (1, 2, 3) for name in ("a", "b")]
    encode = _Encode(2)
    lots = demultiplex(
        changes[:3] + changes[4:],  # without b's event 2
        frontiers={"a": token(0), "b": token(0)},
        home="test",
        operations=lambda _: _OPERATIONS,
        encode=encode,
    )
    assert [it.token for it in lots["a"].events] == [token(1)]
    assert isinstance(lots["a"].error, EventUnencodableError)
    assert [it.token for it in lots["b"].events] == [token(1), token(3)]
    assert lots["b"].error is None


def test_what_events_lack_is_counted_with_them() -> None:
    """A lot says how many of its events lack a document; delivered ones don't count."""
    changes = [{**_change(n, "a", "update"), "fullDocument": None} for n in (1, 2, 3)]
    lots = demultiplex(
        [*changes, _change(4, "b")],
        frontiers={"a": token(1), "b": token(0)},
        home="test",
        operations=lambda _: _OPERATIONS,
        encode=_Encode(),
    )
    assert lots["a"].lacks == {Lack("fullDocument", "missing"): 2}
    assert lots["b"].lacks == {}


def test_an_event_before_the_frontier_need_not_be_encodable() -> None:
    """What was delivered already is not encoded again."""
    assert _split([_change(1, "a"), _change(2, "a")], {"a": 1}, _Encode(1)) == {"a": [2]}


@given(
    st.lists(st.tuples(st.sampled_from("abcd"), st.sampled_from(["insert", "delete"]))),
    st.dictionaries(st.sampled_from("abc"), st.integers(0, 20)),
)
def test_every_wanted_event_is_there_once(
    writes: list[tuple[str, str]], frontiers: dict[str, int]
) -> None:
    """Whatever the reply, each collection gets what it wants, all of it, once, in order."""
    changes = [
        _change(number, name, operation) for number, (name, operation) in enumerate(writes, 1)
    ]
    expected = {
        name: [
            number
            for number, write in enumerate(writes, 1)
            if write == (name, "insert") and number > frontier
        ]
        for name, frontier in frontiers.items()
    }
    assert _split(changes, frontiers) == {
        name: numbers for name, numbers in expected.items() if numbers
    }


# --- batch size ----------------------------------------------------------------------------------


@given(st.integers(1, MAX_BATCH_SIZE), st.integers(0, 10_000), st.integers(0, 10**9))
def test_the_batch_size_stays_within_its_bounds(current: int, events: int, size_bytes: int) -> None:
    """There is always something to ask for, never more than the limit, never a leap."""
    size = next_batch_size(current, events=events, size_bytes=size_bytes)
    assert 1 <= size <= min(MAX_BATCH_SIZE, 4 * current)


@given(st.integers(1, MAX_BATCH_SIZE))
def test_an_empty_reply_changes_nothing(current: int) -> None:
    """A reply without events says nothing of their size."""
    assert next_batch_size(current, events=0, size_bytes=200) == current


@given(st.integers(1, 2 * REPLY_TARGET_BYTES))
def test_the_batch_size_settles_at_the_target(event_bytes: int) -> None:
    """For events of one size, full replies come to weigh about the target, within few rounds."""
    size = FIRST_BATCH_SIZE
    for _ in range(10):
        size = next_batch_size(size, events=size, size_bytes=size * event_bytes)
    assert size == max(1, min(REPLY_TARGET_BYTES // event_bytes, MAX_BATCH_SIZE))
