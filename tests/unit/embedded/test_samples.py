"""The sample changes are lively, repeatable, and don't pile up."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator

import pytest

from mnc.embedded.samples import Change, Delete, Insert, Replace, SampleData, Update


def changes(seed: int, count: int) -> Iterator[Change]:
    """Make changes as the writer does."""
    data = SampleData(random.Random(seed), {"users": [], "movies": []})
    for number in range(count):
        change = data.next_change()
        if isinstance(change, Insert):
            data.added(change.collection, number)
        yield change


def test_same_seed_gives_the_same_changes() -> None:
    """A demonstration can be repeated."""
    assert list(changes(1, 200)) == list(changes(1, 200))
    assert list(changes(1, 200)) != list(changes(2, 200))


def test_every_kind_of_change_comes_soon() -> None:
    """A minute of changes has all four operations in both collections."""
    seen = Counter((change.collection, type(change)) for change in changes(1, 200))
    for name in ("users", "movies"):
        for kind in (Insert, Update, Replace, Delete):
            assert seen[name, kind] > 0


@pytest.mark.parametrize("seed", range(5))
def test_collections_stay_small(seed: int) -> None:
    """Changes only name documents that are there, whose number stays bounded."""
    present: dict[str, set[object]] = {"users": set(), "movies": set()}
    for number, change in enumerate(changes(seed, 5_000)):
        ids = present[change.collection]
        if isinstance(change, Insert):
            ids.add(number)
        else:
            assert change.document_id in ids
        if isinstance(change, Delete):
            ids.remove(change.document_id)
        assert len(ids) < 100
