"""When a leader may be sure that nobody else leads."""

from __future__ import annotations

import pytest
from tests.raft.group import ELECTION_TICKS, SETTINGS, Group

from mnc.raft import Conflict, NodeId, RaftSettings

_B = NodeId("b")


def _has_lease(group: Group, name: str) -> bool:
    return group[name].lease_is_valid


def test_a_leader_that_is_answered_has_a_lease() -> None:
    """While a majority answers, the lease never ends (dissertation §6.4.1)."""
    group = Group("abc")
    group.elect("a")
    group.cut("ac")
    for _ in range(3 * ELECTION_TICKS):
        group.tick("abc")
        assert _has_lease(group, "a")
        assert not _has_lease(group, "b")


def test_an_election_gives_no_lease() -> None:
    """A leader that nobody has answered yet has no lease: voters aren't loyal to it yet."""
    group = Group("abc")
    group.lost = lambda message: (
        message.sender == "a" and message.term == 2 and bool(group.leaders())
    )
    group.elect("a")
    assert group.leaders() == "a"
    assert not _has_lease(group, "a")


def test_a_lease_ends_without_answers() -> None:
    """The lease is over before the first voter may forget the leader."""
    group = Group("abc")
    group.elect("a")
    group.tick("abc", 2)
    group.cut("ab", "ac")
    group.tick("abc", SETTINGS.lease_ticks - 1)
    assert _has_lease(group, "a")
    group.tick("abc")
    assert not _has_lease(group, "a")
    assert group.leaders() == "a"


def test_a_lease_counts_from_the_sending() -> None:
    """An answer that took long gives a lease that is as much shorter."""
    group = Group("abc")
    group.elect("a")
    group.tick("abc", 2)
    group.lost = lambda message: message.sender != "a"
    group.sent.clear()
    group.tick("abc", 2)
    late = next(message for message in group.sent if message.sender == "b")
    group.tick("abc", SETTINGS.lease_ticks - 2)
    assert not _has_lease(group, "a")
    group.deliver(late)
    assert _has_lease(group, "a")
    group.tick("abc", 2)
    assert not _has_lease(group, "a")


@pytest.mark.parametrize("term", [1, 2])
def test_answers_to_an_earlier_term_give_no_lease(term: int) -> None:
    """A round is one of its own term: those of other terms count from another election."""
    group = Group("abc")
    group.lost = lambda message: message.sender == "a" and bool(group.leaders())
    group.elect("a")
    answer = Conflict(
        sender=_B,
        receiver=NodeId("a"),
        term=term,
        round=0,
        previous_index=2,
        conflict_term=None,
        conflict_index=2,
    )
    group.deliver(answer)
    assert _has_lease(group, "a") == (term == 2)


def test_a_leader_that_hands_over_has_no_lease() -> None:
    """From the moment that the target is asked, it may lead (dissertation §3.10)."""
    group = Group("abc")
    group.elect("a")
    group.tick("abc", 2)
    group.cut("ab")
    group["a"].transfer_leadership(_B)
    assert not _has_lease(group, "a")


@pytest.mark.parametrize(
    ("election_ticks", "drift", "lease_ticks"), [(10, 0.0, 9), (10, 0.05, 8), (20, 0.2, 12)]
)
def test_a_lease_allows_for_the_drift(election_ticks: int, drift: float, lease_ticks: int) -> None:
    """The slowest clock's lease is shorter than the fastest clock's loyalty, and barely."""
    settings = RaftSettings(min_election_ticks=election_ticks, max_clock_drift=drift)
    assert settings.lease_ticks == lease_ticks
    loyal = (election_ticks - 1) * (1 - drift)
    assert lease_ticks * (1 + drift) <= loyal < (lease_ticks + 1) * (1 + drift)


@pytest.mark.parametrize(
    "wrong",
    [
        {"heartbeat_ticks": 0},
        {"heartbeat_ticks": 9},
        {"max_clock_drift": 1.0},
        {"max_clock_drift": -0.1},
    ],
)
def test_settings_without_a_safe_lease_are_refused(wrong: dict[str, float]) -> None:
    """Settings under which a lease would end between two heartbeats are an error."""
    with pytest.raises(ValueError, match=r"heartbeat_ticks|max_clock_drift"):
        RaftSettings(**wrong)  # type: ignore[arg-type] # one dictionary of whole and other numbers


@pytest.mark.parametrize(
    "name", ["max_entries_per_append", "max_append_bytes", "max_inflight_appends"]
)
def test_settings_without_any_room_are_refused(name: str) -> None:
    """Settings under which nothing could be sent are an error."""
    with pytest.raises(ValueError, match="in flight"):
        RaftSettings(**{name: 0})
