"""The oracle sees every kind of error: it would be worth nothing otherwise."""

from __future__ import annotations

import random
from collections.abc import Sequence

import pytest
from tests.oracle import Event, Report, compare

COMMITTED = [Event(f"c{n % 2}", f"{n:08X}", "insert") for n in range(20)]


def counts(report: Report) -> tuple[int, int, int, int]:
    """Return what is wrong, by kind."""
    return report.lost, report.duplicated, report.misordered, report.unexpected


def test_same_events_in_the_same_order_are_exact() -> None:
    """A stream that holds what was committed passes."""
    report = compare(COMMITTED, COMMITTED)
    assert report.is_exact
    assert report.expected == 20
    assert report.differences == ()


def test_order_counts_within_a_collection_alone() -> None:
    """Collections may stand in the stream in any order among each other."""
    by_collection = sorted(COMMITTED, key=lambda event: event.collection)
    assert by_collection != COMMITTED
    assert compare(COMMITTED, by_collection).is_exact


def test_nothing_expected_is_not_exact() -> None:
    """A test in which nothing was written fails."""
    assert not compare([], []).is_exact


@pytest.mark.parametrize("index", [0, 7, 19])
def test_removed_event_is_lost(index: int) -> None:
    """An event that isn't in the stream is counted and named, wherever it stood."""
    report = compare(COMMITTED, COMMITTED[:index] + COMMITTED[index + 1 :])
    assert counts(report) == (1, 0, 0, 0)
    assert not report.is_exact
    assert COMMITTED[index].token in str(report)


@pytest.mark.parametrize("again_at", [0, 8, 20])
def test_doubled_event_is_duplicated(again_at: int) -> None:
    """An event that is in the stream twice is counted and named, wherever it is repeated."""
    stored = [*COMMITTED[:again_at], COMMITTED[7], *COMMITTED[again_at:]]
    report = compare(COMMITTED, stored)
    assert report.duplicated == 1
    assert (report.lost, report.unexpected) == (0, 0)
    assert not report.is_exact
    assert COMMITTED[7].token in str(report)


def test_swapped_events_are_misordered() -> None:
    """An event behind a later one of its collection is counted and named."""
    stored = [*COMMITTED[:6], COMMITTED[8], COMMITTED[7], COMMITTED[6], *COMMITTED[9:]]
    report = compare(COMMITTED, stored)
    assert counts(report) == (0, 0, 1, 0)
    assert not report.is_exact
    assert COMMITTED[6].token in str(report)


@pytest.mark.parametrize(
    "stranger",
    [
        Event("c0", "FFFFFFFF", "insert"),
        Event("c1", COMMITTED[0].token, "insert"),
        Event("c0", COMMITTED[0].token, "delete"),
    ],
)
def test_stranger_is_unexpected(stranger: Event) -> None:
    """An event that MongoDB never had is counted, also when it shares a token with one it had."""
    report = compare(COMMITTED, [*COMMITTED, stranger])
    assert counts(report) == (0, 0, 0, 1)
    assert not report.is_exact


@pytest.mark.parametrize("seed", range(20))
def test_errors_of_all_kinds_are_counted_together(seed: int) -> None:
    """Several errors at once hide none of each other."""
    rng = random.Random(seed)
    lost = set(rng.sample(range(20), 3))
    stored: Sequence[Event] = [event for n, event in enumerate(COMMITTED) if n not in lost]
    stored = [*stored, *rng.sample(list(stored), 4), Event("c2", "00000000", "update")]
    assert counts(compare(COMMITTED, stored)) == (3, 4, 0, 1)


def test_report_names_the_first_differences_of_each_collection() -> None:
    """However much is wrong, the report stays readable and forgets no collection."""
    committed = [Event(f"c{n % 3}", f"{n:08X}", "insert") for n in range(3000)]
    report = compare(committed, [])
    assert report.lost == 3000
    assert {line[:2] for line in report.differences} == {"c0", "c1", "c2"}
    assert len(report.differences) <= 60
