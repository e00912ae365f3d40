"""Three connectors share the work: whatever happens to them, the stream stays exact."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.cluster import SIZE, Cluster
from tests.connector import ConnectorProcess
from tests.deployment import Deploy
from tests.soak import SOAK

COLLECTIONS = ("users", "movies", "orders", "films")

ROUNDS = [(1, 2), pytest.param(2, 20, marks=SOAK)]

Harm = Callable[[Cluster, random.Random], None]


def kill_one(cluster: Cluster, rng: random.Random) -> None:
    """Kill any instance, the leader or not, and start it again later."""
    number = rng.randrange(SIZE)
    cluster.kill(number)
    _others(cluster, number).run_for(rng.uniform(0.0, 2.0))
    cluster.start(number)


def freeze_one(cluster: Cluster, rng: random.Random) -> None:
    """Freeze an instance for less or more than it takes to be missed."""
    number = rng.randrange(SIZE)
    cluster.instances[number].pause()
    _others(cluster, number).run_for(rng.uniform(0.1, 3.0))
    cluster.instances[number].resume()


def stop_one(cluster: Cluster, rng: random.Random) -> None:
    """Let an instance end as it does in a rolling restart."""
    number = rng.randrange(SIZE)
    cluster.stop(number)
    _others(cluster, number).run_for(rng.uniform(0.0, 1.0))
    cluster.start(number)


def wipe_one(cluster: Cluster, rng: random.Random) -> None:
    """Kill an instance and let it come back with an empty disk."""
    number = rng.randrange(SIZE)
    cluster.kill(number)
    cluster.wipe(number)
    _others(cluster, number).run_for(rng.uniform(0.0, 1.0))
    cluster.start(number)
    cluster.wait_working()


def kill_all(cluster: Cluster, rng: random.Random) -> None:
    """Kill all three at once, and start them one after the other."""
    for number in range(SIZE):
        cluster.kill(number)
    for number in rng.sample(range(SIZE), SIZE):
        cluster.start(number).run_for(rng.uniform(0.0, 0.5))
    cluster.wait_working()


def _others(cluster: Cluster, number: int) -> ConnectorProcess:
    return cluster.instances[(number + 1) % SIZE]


@pytest.mark.parametrize(("seed", "rounds"), ROUNDS)
@pytest.mark.parametrize("harm", [kill_one, freeze_one, stop_one, wipe_one, kill_all])
def test_faults_of_instances_leave_the_stream_exact(
    deploy: Deploy, tmp_path: Path, harm: Harm, seed: int, rounds: int
) -> None:
    """Whoever dies, freezes, leaves or forgets, the others go on where it stopped."""
    rng = random.Random(seed)
    deployment = deploy(collections=COLLECTIONS)
    cluster = Cluster(deployment, folder=tmp_path)
    cluster.wait_working()
    with deployment.writer(seed=seed) as writer:
        for _ in range(rounds):
            harm(cluster, rng)
            cluster.instances[0].run_for(rng.uniform(0.2, 1.5))
    cluster.wait_working()
    assert len(cluster.groups()) == 1
    deployment.finish(writer.events)
