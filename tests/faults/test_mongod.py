"""Faults on MongoDB's side: a cursor or an operation is killed, the server crashes."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import pytest
from tests.deployment import Deploy, Deployment
from tests.reads import find_read, kill_cursor, kill_operation
from tests.servers import StartMongod
from tests.soak import SOAK
from tests.waiting import wait_until

Kill = Callable[[Deployment, dict[str, Any]], object]


@pytest.mark.parametrize("kill", [kill_cursor, kill_operation])
def test_killed_reads_are_resumed(deploy: Deploy, kill: Kill) -> None:
    """An administrator who kills the connector's cursor or operation costs no event."""
    deployment = deploy()
    connector = deployment.start_ready()
    with deployment.writer(seed=1) as writer:
        for times in range(1, 5):

            def is_killed(times: int = times) -> bool:
                # Again and again: an operation that was found may have ended before it is killed.
                kill(deployment, find_read(deployment))
                return len(connector.log("lane.failed")) >= times * len(deployment.collections)

            wait_until(is_killed, timeout_s=20, what="the kill to be noticed")
            connector.wait_ready()
            writer.wait_for_events(50)
    deployment.finish(writer.events)


@pytest.mark.parametrize(("seed", "rounds"), [(1, 3), pytest.param(2, 50, marks=SOAK)])
def test_crashes_of_mongod_under_writes_leave_the_stream_exact(
    deploy: Deploy, start_own_mongod: StartMongod, seed: int, rounds: int
) -> None:
    """A server that is killed and comes back gives every event that it had committed, once."""
    rng = random.Random(seed)
    server = start_own_mongod()
    deployment = deploy(mongod=server)
    connector = deployment.start_ready()
    with deployment.writer(seed=seed) as writer:
        for _ in range(rounds):
            writer.wait_for_events(rng.randrange(200))
            server.kill()
            connector.run_for(rng.uniform(0, 1))
            server = start_own_mongod(server.data_dir, port=server.port)
            connector.wait_ready()
        writer.wait_for_events(50)
    deployment.finish(writer.possible_events)
    assert connector.log("lane.failed")
