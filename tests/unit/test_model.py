"""Tokens, namespaces and sizes."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from tests.fakes.tokens import event_token, high_water_mark, invalidate_token
from tests.fakes.values import event

from mnc.model import (
    EVENT_OVERHEAD_BYTES,
    TOKEN_LIMIT,
    ClusterTime,
    Namespace,
    ResumeToken,
    Snapshot,
    collection_key,
)

_times = st.builds(ClusterTime, st.integers(0, 2**32 - 1), st.integers(0, 2**32 - 1))


@given(_times)
def test_a_token_says_its_cluster_time(time: ClusterTime) -> None:
    """Every kind of token gives back the cluster time that it begins with."""
    for token in (event_token(time, index=3), high_water_mark(time), invalidate_token(time)):
        assert token.cluster_time == time


def test_a_real_token_says_its_cluster_time() -> None:
    """The digits stand where MongoDB puts them."""
    token = ResumeToken("826B054082000000052B022C01002B046E5A10045ECF27D963C14D178EFEB17DF146")
    assert token.cluster_time == ClusterTime(0x6B054082, 5)


@given(_times, _times, st.integers(0, 9), st.integers(0, 9))
def test_tokens_sort_by_cluster_time_then_index(
    time: ClusterTime, other: ClusterTime, index: int, other_index: int
) -> None:
    """Tokens compare as their events were committed, also within a transaction."""
    left, right = event_token(time, index=index), event_token(other, index=other_index)
    assert (left < right) == ((time, index) < (other, other_index))
    assert (left == right) == ((time, index) == (other, other_index))


def test_type_bits_say_nothing_of_the_order() -> None:
    """Two forms of one token are equal, hash alike, and neither is before the other."""
    bare, typed = ResumeToken("82" * 10), ResumeToken("82" * 10, b"\x40")
    assert bare == typed
    assert hash(bare) == hash(typed)
    assert not bare < typed
    assert not typed < bare


def test_a_long_token_is_cut_and_compares_as_before() -> None:
    """A token with a document key of any length is bounded, and stays between its neighbours.

    So an event read again is recognised by its position, and the next one isn't.
    """
    time = ClusterTime(1_700_000_000, 1)
    before, long, after = (event_token(time, index=index, key="k" * 3000) for index in (1, 2, 3))
    assert before < long < after
    assert len(long.data) == TOKEN_LIMIT + 1
    assert long.cluster_time == time
    assert long == event_token(time, index=2, key="k" * 3000)
    assert ResumeToken(long.data) == long
    assert (
        event_token(ClusterTime(1_700_000_000, 0))
        < long
        < high_water_mark(ClusterTime(time.seconds, 2))
    )
    assert ResumeToken("82" * 5000, b"bits" * 5000).type_bits is None


@pytest.mark.parametrize("data", ["", "8", "82" + "0" * 15, "82" + "x" * 16])
def test_what_is_no_token_has_no_cluster_time(data: str) -> None:
    """Text that is too short or not hexadecimal is refused."""
    with pytest.raises(ValueError, match=r"hexadecimal digits|invalid literal"):
        _ = ResumeToken(data).cluster_time


def test_a_namespace_reads_as_in_mongodb() -> None:
    """A namespace is written with a dot, whatever dots are in its collection's name."""
    assert str(Namespace(database="shop", collection="orders.old")) == "shop.orders.old"


_databases = st.text(st.characters(exclude_characters="."), max_size=4)


@given(_databases, st.text("ab.é$ \0", max_size=6), _databases)
def test_a_collection_has_one_key(database: str, collection: str, home: str) -> None:
    """Whatever its name, the key says which collection it is, so no two have the same."""
    key = collection_key(database, collection, home=home)
    assert Namespace.of(key, home=home) == Namespace(database=database, collection=collection)


@pytest.mark.parametrize(
    ("database", "collection", "key"),
    [
        ("shop", "orders", "orders"),
        ("shop", "orders.archive", "shop.orders.archive"),
        ("shop", "crm.users", "shop.crm.users"),
        ("shop", "Köln €$", "Köln €$"),
        ("crm", "users", "crm.users"),
        ("crm", "crm.users", "crm.crm.users"),
        ("shop2", "orders", "shop2.orders"),
    ],
)
def test_a_key_has_the_database_where_it_must(database: str, collection: str, key: str) -> None:
    """A name without a dot is one of the database in MONGO_URI; all others say their database."""
    assert collection_key(database, collection, home="shop") == key


def test_a_collection_of_the_database_in_the_uri_may_be_written_with_it() -> None:
    """`shop.orders` is the same as `orders`."""
    assert Namespace.of("shop.orders", home="shop") == Namespace.of("orders", home="shop")


@given(st.binary(max_size=100))
def test_an_event_counts_for_more_than_its_payload(payload: bytes) -> None:
    """The size of an event bounds what it takes in memory: payload and a fixed share."""
    assert event(1, payload=payload).size_bytes == len(payload) + EVENT_OVERHEAD_BYTES


@given(
    st.builds(ClusterTime, st.integers(0, 2**32 - 1), st.integers(0, 2**32 - 2)),
    st.sampled_from([high_water_mark, event_token]),
    st.text("0123456789ABCDEF", max_size=2 * TOKEN_LIMIT),
    st.integers(0, 2**48 - 2),
)
def test_a_snapshots_tokens_stand_between_two_changes(
    time: ClusterTime, kind: Callable[[ClusterTime], ResumeToken], key: str, documents: int
) -> None:
    """After the beginning, in the order of reading, before the end, and before any later change."""
    assume(time.increment < 2**32 - 1)  # there has to be a later one
    begun = kind(time)
    since = ResumeToken(begun.data + key if kind is event_token else begun.data)
    snapshots = [Snapshot(since=since, documents=documents + step) for step in range(2)]
    later = event_token(ClusterTime(time.seconds, time.increment + 1))
    tokens = [since, *[each.token for each in snapshots], snapshots[0].end, later]
    assert tokens == sorted(set(tokens), key=lambda token: token.data)
    assert all(each.cluster_time == time for each in tokens[:-1])
    again = Snapshot(since=snapshots[0].end)
    assert snapshots[0].end < again.token < again.end < later


def test_a_snapshots_token_says_which_document_it_is() -> None:
    """What two runs read as the same number is told apart: documents come and go."""
    since = high_water_mark(ClusterTime(1, 1))
    left, right = (Snapshot(since=since, documents=7, after=key) for key in ("a", "b"))
    assert left.token != right.token
