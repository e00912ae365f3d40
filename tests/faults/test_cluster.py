"""Three connectors share the work: whatever happens to them, the stream stays exact."""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path

import pytest
from tests.deployment import Deploy
from tests.injection.harms import HARMS, Harm, scene
from tests.servers import StartMongod, StartNatsServer
from tests.soak import SOAK


@pytest.mark.parametrize(
    ("harms", "seed", "rounds"),
    [
        pytest.param(HARMS, 1, len(HARMS), id="all"),
        *(pytest.param((harm,), 2, 20, id=harm.__name__, marks=SOAK) for harm in HARMS),
        pytest.param(HARMS, 3, 100, id="all for long", marks=SOAK),
    ],
)
def test_harms_at_random_times_leave_the_stream_exact(
    deploy: Deploy,
    start_own_mongod: StartMongod,
    start_own_nats: StartNatsServer,
    tmp_path: Path,
    harms: Sequence[Harm],
    seed: int,
    rounds: int,
) -> None:
    """Whoever dies, is cut off, forgets or leaves, the others go on where it stopped."""
    rng = random.Random(seed)
    with scene(
        deploy, tmp_path, start_mongod=start_own_mongod, start_nats=start_own_nats
    ) as found:
        cluster = found.cluster
        with cluster.deployment.writer(seed=seed) as writer:
            drawn: list[Harm] = []
            for number in range(1, rounds + 1):
                drawn = drawn or rng.sample(harms, len(harms))
                harm = drawn.pop()
                print(f"{number} of {rounds}: {harm.__name__}", flush=True)  # noqa: T201 - pytest shows it with a failure
                harm(found, rng)
                found.run_for(rng.uniform(0.2, 1.5))
                cluster.wait_working()
        assert len(cluster.groups_entered()) == 1
        cluster.deployment.finish(writer.possible_events)
