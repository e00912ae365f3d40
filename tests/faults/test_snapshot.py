"""A snapshot of collections that are written to: killed at any moment, it ends with the truth."""

from __future__ import annotations

import random
from functools import partial

import pytest
from tests.deployment import Deploy
from tests.snapshots import assert_end_state, is_read, reads_of
from tests.soak import SOAK
from tests.waiting import wait_until


@pytest.mark.parametrize(
    ("seed", "documents", "kills"), [(1, 1000, 2), pytest.param(2, 20_000, 20, marks=SOAK)]
)
def test_kills_within_a_snapshot_leave_the_end_state_true(
    deploy: Deploy, seed: int, documents: int, kills: int
) -> None:
    """Each document is stored once as `read`, and each change once: the last message is the truth.

    Every run but the last ends with kill -9 once it has stored something, while documents change.
    """
    rng = random.Random(seed)
    deployment = deploy(
        MONGO_SNAPSHOT="initial", MONGO_SNAPSHOT_DOCUMENTS_PER_S=str(documents // (kills + 1))
    )
    writer = deployment.writer(seed=seed)
    writer.fill(documents)
    deployment.expect_from_now()
    connector = deployment.start()
    connector.wait_for_log("snapshot.began")
    interrupted = 0
    with writer:
        for _ in range(kills):
            wait_until(partial(connector.counted, "events_published"), timeout_s=30, what="a batch")
            connector.run_for(rng.uniform(0, 0.5))
            connector.kill()
            read = sum(is_read(message) for message in deployment.oracle.everything())
            interrupted += 0 < read < documents * len(deployment.collections)
            connector = deployment.start()
        connector.wait_ready()
        wait_until(
            lambda: not any("snapshot" in it for it in connector.collections()),
            timeout_s=60,
            what="the snapshot to be complete",
        )
    deployment.finish(writer.events)
    assert interrupted, "no kill fell into a snapshot"
    messages = deployment.oracle.everything()
    for name in deployment.collections:
        assert max(reads_of(messages, name).values()) == 1
        assert_end_state(messages, deployment.db, name)


def test_snapshot_on_demand_is_taken_by_whoever_owns_the_collection(deploy: Deploy) -> None:
    """A request that is made while the owner is down is found by the next one, once."""
    deployment = deploy(collections=("users",))
    writer = deployment.writer(seed=3)
    writer.fill(300)
    deployment.expect_from_now()
    connector = deployment.start_ready()
    assert connector.log("snapshot.began") == []
    connector.kill()
    with writer:
        request = deployment.run("snapshot", "users")
        assert request.returncode == 0, request.stderr
        connector = deployment.start()
        connector.wait_for_log("snapshot.completed")
        connector.wait_ready()
    deployment.finish(writer.events)
    messages = deployment.oracle.everything()
    assert max(reads_of(messages, "users").values()) == 1
    assert_end_state(messages, deployment.db, "users")
    assert deployment.run("snapshot", "movies").returncode == 2
