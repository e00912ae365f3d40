"""Two connectors that both believe that they own a collection leave its stream exact."""

from __future__ import annotations

import random

import pytest
from tests.connector import sleep_in_turns
from tests.deployment import Deploy
from tests.soak import SOAK


@pytest.mark.parametrize(("seed", "rounds"), [(1, 6), pytest.param(2, 100, marks=SOAK)])
def test_stale_writers_cannot_append(deploy: Deploy, seed: int, rounds: int) -> None:
    """Whoever wakes up from a freeze with a full buffer stores nothing that the other has stored.

    They race for every batch, take turns in sleeping, and the ids of what the other stored are
    forgotten: the fence alone decides.
    """
    rng = random.Random(seed)
    deployment = deploy()
    connectors = (deployment.start_ready(), deployment.start_ready())
    with deployment.writer(seed=seed, pause_s=0.001) as writer:
        sleep_in_turns(connectors, rng=rng, times=rounds)
    deployment.finish(writer.events)
    for connector in connectors:
        assert connector.log("publish.recovered") or connector.log("lane.failed")


def test_crashes_of_one_of_two_connectors_leave_the_stream_exact(deploy: Deploy) -> None:
    """Connectors that come and go beside each other begin where the stream is, at any moment."""
    rng = random.Random(1)
    deployment = deploy()
    connectors = [deployment.start_ready(), deployment.start()]
    with deployment.writer(seed=1) as writer:
        for turn in range(8):
            connectors[turn % 2].run_for(rng.uniform(0.2, 0.8))
            connectors[turn % 2].kill()
            connectors[turn % 2] = deployment.start()
    deployment.finish(writer.events)
