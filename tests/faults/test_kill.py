"""Killing the connector with -9 leaves the stream exact, whatever it was doing."""

from __future__ import annotations

import random
from functools import partial

import pytest
from tests.deployment import Deploy, Deployment
from tests.soak import SOAK
from tests.waiting import wait_until

SEVERAL_BATCHES = 2500
"""JetStream takes 1,000 messages in an atomic batch."""


@pytest.mark.parametrize(("seed", "rounds"), [(1, 30), pytest.param(2, 300, marks=SOAK)])
def test_kills_at_random_moments_leave_the_stream_exact(
    deploy: Deploy, seed: int, rounds: int
) -> None:
    """No event is lost, doubled or misplaced when every run ends with kill -9, also while starting.

    A start takes about 0.4 s, so the moments fall into imports, acquiring, catching up and idling.
    """
    rng = random.Random(seed)
    deployment = deploy()
    connector = deployment.start_ready()
    with deployment.writer(seed=seed) as writer:
        for _ in range(rounds):
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


def insert_in_a_transaction(deployment: Deployment) -> int:
    """Insert SEVERAL_BATCHES documents into each collection; return the number of events."""
    with deployment.client.start_session() as session, session.start_transaction():
        for name in deployment.collections:
            deployment.db[name].insert_many(({} for _ in range(SEVERAL_BATCHES)), session=session)
    return SEVERAL_BATCHES * len(deployment.collections)


def test_kills_within_transactions_leave_the_stream_exact(deploy: Deploy) -> None:
    """The events of a transaction share a cluster time; a crash between two of them is exact."""
    deployment = deploy()
    deployment.start_ready().kill()
    events = 0
    interrupted = 0
    for _ in range(4):
        events += insert_in_a_transaction(deployment)
        connector = deployment.start()
        wait_until(partial(connector.counted, "events_published"), timeout_s=20, what="a batch")
        connector.kill()
        interrupted += len(deployment.oracle.messages()) % events > 0
    deployment.start()
    deployment.finish(events)
    assert interrupted, "no kill fell into a transaction"
