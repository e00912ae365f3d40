"""The core in random schedules: safe after every event, live once the faults have ended."""

from __future__ import annotations

from collections import Counter

import pytest
from tests.raft.simulator import (
    CHANGING,
    MISTOLD,
    PROFILES,
    STEADY,
    TOLD,
    Profile,
    Simulation,
    simulate,
)
from tests.soak import SOAK

_AT_ONCE = 250
"""Schedules in one test: about a second."""


def _batches(schedules: int) -> list[range]:
    return [range(start, start + _AT_ONCE) for start in range(0, schedules, _AT_ONCE)]


def _name(seeds: range) -> str:
    return f"{seeds.start}-{seeds.stop - 1}"


def _play(seeds: range, profile: Profile) -> None:
    for seed in seeds:
        simulate(seed, profile)


@pytest.mark.parametrize("seeds", _batches(2000), ids=_name)
def test_three_nodes_agree_and_come_back(seeds: range) -> None:
    """Whatever the network, the disks and the clocks do to three nodes, they stay one log."""
    _play(seeds, STEADY)


@pytest.mark.parametrize("seeds", _batches(1000), ids=_name)
def test_changing_members_agree_and_come_back(seeds: range) -> None:
    """The same holds while nodes join, are promoted and are removed."""
    _play(seeds, CHANGING)


@pytest.mark.parametrize("seeds", _batches(750), ids=_name)
def test_who_is_told_of_crashes_agrees_and_comes_back(seeds: range) -> None:
    """The same holds when nodes learn that a leader's process has ended, leases included."""
    _play(seeds, TOLD)


@pytest.mark.parametrize("seeds", _batches(500), ids=_name)
def test_who_is_told_wrong_agrees_and_comes_back(seeds: range) -> None:
    """A wrong report that a leader has ended costs nothing but its lease."""
    _play(seeds, MISTOLD)


@pytest.mark.parametrize("profile", PROFILES.values(), ids=PROFILES.keys())
@pytest.mark.parametrize(
    "seeds", [pytest.param(range(n, n + 20_000), marks=SOAK) for n in (100_000, 200_000)], ids=_name
)
def test_many_schedules_more(seeds: range, profile: Profile) -> None:
    """Tens of thousands of further schedules find nothing either."""
    _play(seeds, profile)


def test_a_schedule_is_a_function_of_its_seed() -> None:
    """A seed plays the same schedule again, to the last message."""
    traces: list[list[str]] = []
    for _ in range(2):
        traces.append([])
        Simulation(7, CHANGING, trace=traces[-1].append).run()
    assert traces[0] == traces[1]


def test_schedules_are_eventful() -> None:
    """The schedules don't pass for lack of events: everything that may happen does."""
    seen: Counter[str] = Counter()
    for seed in range(50):
        lines: list[str] = []
        Simulation(seed, TOLD, trace=lines.append).run()
        text = "\n".join(lines)
        for event in _EVENTS:
            seen[event] += text.count(event)
    assert {event: count for event, count in seen.items() if count < 10} == {}


_EVENTS = (
    "leads term",
    "leads no more",
    "crashes",
    "network splits",
    "goes on",
    "compacts to",
    "is told that",
    "receives InstallSnapshot",
    "receives TimeoutNow",
    "receives StaleTerm",
    "receives Conflict",
    "does Entry",
    "refuses: no entry of this term",
    "takes the last proposals",
)
