"""Killing the connector with -9 leaves the stream exact, whatever it was doing."""

from __future__ import annotations

import random

import pytest
from tests.deployment import Deploy
from tests.soak import SOAK


@pytest.mark.parametrize(
    ("seed", "kills"),
    [(1, 30), *(pytest.param(seed, 200, marks=SOAK) for seed in (2, 3, 4))],
)
def test_kills_at_random_moments_leave_the_stream_exact(
    deploy: Deploy, seed: int, kills: int
) -> None:
    """No event is lost, doubled or misplaced when every run ends with kill -9, also while starting.

    A start takes about 0.4 s, so the moments fall into imports, acquiring, catching up and idling.
    """
    rng = random.Random(seed)
    deployment = deploy()
    connector = deployment.start_ready()
    with deployment.writer(seed=seed) as writer:
        for _ in range(kills):
            connector.run_for(rng.uniform(0.01, 1.5))
            connector.kill()
            connector = deployment.start()
    deployment.finish(writer.events)


@pytest.mark.parametrize("seed", [1, 2])
def test_writes_during_a_crash_before_the_first_event_arrive(deploy: Deploy, seed: int) -> None:
    """From the moment a collection is first watched nothing is missed, also before any event.

    The position of a first watch is durable before the first read: it must not become "now" again.
    """
    deployment = deploy()
    connector = deployment.start_ready()
    connector.kill()
    assert all(deployment.token_document(name) for name in deployment.collections)
    with deployment.writer(seed=seed) as writer:
        writer.wait_for_events(50)
    deployment.start()
    deployment.finish(writer.events)
