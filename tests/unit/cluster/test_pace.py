"""How fast a group beats for each election time-out that a user may set."""

from __future__ import annotations

import pytest

from mnc.cluster.replica import Pace


@pytest.mark.parametrize("timeout_s", [0.2, 0.5, 1.0, 2.0, 5.0])
def test_a_leader_is_missed_after_the_time_that_was_set(timeout_s: float) -> None:
    """The shortest election time-out is as long as RAFT_ELECTION_TIMEOUT_S says."""
    pace = Pace.of(timeout_s)
    assert pace.tick_s * pace.raft.min_election_ticks == pytest.approx(timeout_s)


@pytest.mark.parametrize("timeout_s", [0.2, 0.5, 1.0, 2.0, 5.0])
def test_ends_are_noticed_as_soon_with_a_longer_time_out(timeout_s: float) -> None:
    """Members ask for each other every 50 ms at least, and five heartbeats fit in a time-out."""
    pace = Pace.of(timeout_s)
    assert pace.tick_s <= 0.05
    assert pace.raft.min_election_ticks >= 5 * pace.raft.heartbeat_ticks
