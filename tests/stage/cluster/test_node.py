"""Nodes form one group, share out the work, and take over from one another."""

from __future__ import annotations

import pytest
import trio
from tests.fakes.virtual_time import run_in_virtual_time, virtual_time
from tests.stage.cluster.virtual_cluster import COLLECTIONS, VirtualCluster

SEEDS = range(10)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("instances", [3, 5])
def test_one_group_forms_and_the_work_is_spread(seed: int, instances: int) -> None:
    """However many instances start, as many as the cluster's size work, each on its share."""

    async def run() -> None:
        async with trio.open_nursery() as nursery:
            cluster = VirtualCluster(nursery, seed=seed)
            cluster.start(*range(instances))
            await cluster.wait_working()
            await cluster.wait_for(
                lambda: sorted(len(cluster.owned(number)) for number in range(instances))
                == sorted([3, 2, 2, *([0] * (instances - 3))]),
                timeout_s=5,
            )
            assert len(cluster.register.foundings) == 1
            nursery.cancel_scope.cancel()

    run_in_virtual_time(run)


@pytest.mark.parametrize("seed", SEEDS)
def test_the_others_take_over_from_a_crashed_instance(seed: int) -> None:
    """A second after the crash of any instance the others own all, by the broker's word."""

    async def run() -> None:
        async with trio.open_nursery() as nursery:
            cluster = VirtualCluster(nursery, seed=seed)
            cluster.start(0, 1, 2)
            await cluster.wait_working()
            await cluster.wait_for(lambda: cluster.leader() >= 0, timeout_s=5)
            await trio.sleep(3)
            cluster.crash(seed % 3)
            assert await cluster.wait_working() < 1.0
            cluster.start(seed % 3)
            await cluster.wait_for(
                lambda: cluster.is_working() and len(cluster.owned(seed % 3)) >= 2, timeout_s=5
            )
            nursery.cancel_scope.cancel()

    run_in_virtual_time(run)
