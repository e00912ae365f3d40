"""Whatever happens to its instances, and however often, a cluster comes back to its work."""

from __future__ import annotations

import random

import pytest
import trio
from tests.fakes.virtual_time import run_in_virtual_time
from tests.soak import SOAK
from tests.stage.cluster.virtual_cluster import VirtualCluster

_INSTANCES = 4
"""One more than the cluster's size."""

_HARMS_A_LIFE = 25


async def _harm(cluster: VirtualCluster, rng: random.Random) -> None:
    """Do something to an instance, or to the network."""
    number = rng.randrange(_INSTANCES)
    if number not in cluster.processes:
        if rng.random() < 0.2:
            cluster.wipe(number)
        cluster.start(number)
        return
    match rng.choice(("crash", "stop", "isolate", "heal", "lose", "rest")):
        case "crash":
            cluster.crash(number)
        case "stop":
            await cluster.stop(number)
        case "isolate":
            cluster.network.isolate(cluster.disk(number).node)
        case "heal":
            cluster.network.heal()
        case "lose":
            loss = rng.choice((0.0, 0.1, 0.5))
            cluster.network.loses = lambda _: rng.random() < loss
        case "rest":
            await trio.sleep(5)


@pytest.mark.parametrize("seed", [*range(8), *(pytest.param(n, marks=SOAK) for n in range(8, 400))])
def test_cluster_comes_back_after_any_harms(seed: int) -> None:
    """Crashes, stops, lost disks, cuts and losses leave each collection with one owner.

    That an epoch of a collection has one owner for ever is asserted all along.
    """

    async def run() -> None:
        rng = random.Random(seed)
        async with trio.open_nursery() as nursery:
            cluster = VirtualCluster(nursery, seed=seed)
            cluster.start(*range(_INSTANCES))
            await cluster.wait_working()
            for _ in range(_HARMS_A_LIFE):
                await _harm(cluster, rng)
                await trio.sleep(rng.expovariate(1.0))
            cluster.network.heal()
            cluster.network.loses = lambda _: False
            cluster.start(*(set(range(_INSTANCES)) - cluster.processes.keys()))
            await cluster.wait_working(timeout_s=60)
            await trio.sleep(30)
            assert cluster.is_working()
            groups = {view.group for each in cluster.processes.values() if (view := each.node.view)}
            assert groups == {cluster.register.foundings[-1].group}
            nursery.cancel_scope.cancel()

    run_in_virtual_time(run)
