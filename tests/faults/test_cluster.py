"""Three connectors share the work: whatever happens to them, the stream stays exact."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from pathlib import Path

import pytest
from tests.cluster import SIZE, Cluster
from tests.deployment import Deploy, Deployment
from tests.injection.harms import COLLECTIONS, HARMS, Harm, Scene, set_scene
from tests.jetstream import read_messages
from tests.servers import StartMongod, StartNatsServer
from tests.soak import SOAK

LONGEST_GAP_S = 2.0
"""Far more than a handover takes, because three processes start meanwhile, on few cores."""


@pytest.fixture
def scene(
    deploy: Deploy,
    tmp_path: Path,
    start_own_mongod: StartMongod,
    start_own_nats: StartNatsServer,
) -> Iterator[Scene]:
    """Give a cluster that works, and servers of its own."""
    with set_scene(
        deploy, tmp_path, start_mongod=start_own_mongod, start_nats=start_own_nats
    ) as found:
        yield found


@pytest.mark.parametrize(
    ("harms", "seed", "rounds"),
    [
        pytest.param(HARMS, 1, len(HARMS), id="all"),
        *(pytest.param((harm,), 2, 20, id=harm.__name__, marks=SOAK) for harm in HARMS),
        pytest.param(HARMS, 3, 100, id="all for long", marks=SOAK),
    ],
)
def test_harms_at_random_times_leave_the_stream_exact(
    scene: Scene, harms: Sequence[Harm], seed: int, rounds: int
) -> None:
    """Whoever dies, is cut off, forgets or leaves, the others go on where it stopped."""
    rng = random.Random(seed)
    cluster = scene.cluster
    drawn: list[Harm] = []
    with cluster.deployment.writer(seed=seed) as writer:
        for number in range(1, rounds + 1):
            drawn = drawn or rng.sample(harms, len(harms))
            harm = drawn.pop()
            print(f"{number} of {rounds}: {harm.__name__}")  # noqa: T201 - pytest shows it with a failure
            harm(scene, rng)
            scene.run_for(rng.uniform(0.0, 1.0))
            cluster.wait_working()
    assert len(cluster.groups_entered()) == 1
    cluster.deployment.finish(writer.possible_events)


@pytest.mark.parametrize(("seed", "rounds"), [(1, 1), pytest.param(2, 20, marks=SOAK)])
def test_rolling_restarts_hand_over_without_waiting(
    deploy: Deploy, tmp_path: Path, seed: int, rounds: int
) -> None:
    """Instances that are restarted in turn hand over what they own: nobody has to miss them."""
    deployment = deploy(collections=COLLECTIONS)
    cluster = Cluster(deployment, folder=tmp_path)
    cluster.wait_working()
    with deployment.writer(seed=seed) as writer:
        for _ in range(rounds):
            for number in range(SIZE):
                cluster.stop(number)
                cluster.start(number)
                cluster.wait_working()
    assert [trouble for run in cluster.runs for trouble in run.troubles()] == []
    deployment.finish(writer.events)
    gaps = longest_gaps_s(deployment)
    print(f"the longest gaps in seconds: {gaps}")  # noqa: T201 - pytest shows it with a failure
    assert max(gaps.values()) < LONGEST_GAP_S


def longest_gaps_s(deployment: Deployment) -> Mapping[str, float]:
    """Return the longest time between two events of each collection in the stream."""
    times: dict[str, list[float]] = {}
    for message in read_messages(deployment.nats_url, deployment.stream):
        prefix, collection = message.subject.split(".")[:2]
        if prefix == deployment.stream:
            times.setdefault(collection, []).append(message.stored_at.timestamp())
    return {
        collection: round(max(after - before for before, after in pairwise(each)), 3)
        for collection, each in times.items()
    }
