"""Nodes form one group, share out the work, and take over from one another."""

from __future__ import annotations

import time
from collections.abc import Set as AbstractSet

import pytest
import trio
from structlog.testing import capture_logs
from tests.fakes.virtual_time import run_in_virtual_time, virtual_time
from tests.stage.cluster.virtual_cluster import COLLECTIONS, VirtualCluster, working_cluster

from mnc.cluster.membership import GIVEN_UP_AFTER_S
from mnc.raft import NodeId

SEEDS = range(4)

TICK_S = 0.05
"""A tenth of the shortest election time-out, which is the default one here."""

MOMENT_S = 0.005
"""More than the looks of `wait_for` add."""


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("instances", [3, 5])
def test_one_group_forms_and_the_work_is_spread(seed: int, instances: int) -> None:
    """However many instances start, as many as the cluster's size work, each on its share."""

    async def run() -> None:
        async with working_cluster(seed=seed, instances=instances) as cluster:
            await cluster.wait_for(
                lambda: (
                    sorted(len(cluster.owned(number)) for number in range(instances))
                    == sorted([3, 2, 2, *([0] * (instances - 3))])
                ),
                timeout_s=5,
            )
            assert len(cluster.register.foundings) == 1

    run_in_virtual_time(run)


@pytest.mark.parametrize("seed", SEEDS)
def test_the_others_take_over_from_a_crashed_instance(seed: int) -> None:
    """A second after the crash of any instance the others own all, by the broker's word."""

    async def run() -> None:
        async with working_cluster(seed=seed) as cluster:
            await cluster.wait_for(lambda: cluster.leader() >= 0, timeout_s=5)
            await trio.sleep(3)
            cluster.crash(seed % 3)
            assert await cluster.wait_working() < 1.0
            cluster.start(seed % 3)
            await cluster.wait_for(
                lambda: cluster.is_working() and len(cluster.owned(seed % 3)) >= 2, timeout_s=5
            )

    run_in_virtual_time(run)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize(("leads", "within_s"), [(False, TICK_S), (True, 2 * TICK_S)])
def test_an_end_is_noticed_by_the_brokers_word_and_not_by_silence(
    seed: int, leads: bool, within_s: float
) -> None:
    """A follower's collections have their next owners in one tick, a leader's in two."""

    async def run() -> None:
        async with working_cluster(seed=seed) as cluster:
            await cluster.wait_for(lambda: cluster.leader() >= 0, timeout_s=5)
            await trio.sleep(3 + seed * TICK_S / len(SEEDS))
            leader = cluster.leader()
            cluster.crash(leader if leads else (leader + 1) % 3)
            assert await cluster.wait_working() < within_s + MOMENT_S

    run_in_virtual_time(run)


@pytest.mark.parametrize("seed", SEEDS)
def test_a_clean_stop_hands_over_without_waiting(seed: int) -> None:
    """Whoever ends by SIGTERM has its collections with the others within 0.3 s."""

    async def run() -> None:
        async with working_cluster(seed=seed) as cluster:
            await trio.sleep(3)
            cluster.nursery.start_soon(cluster.stop, seed % 3)
            owned = set(cluster.owned(seed % 3))
            others = [cluster.processes[number] for number in range(3) if number != seed % 3]
            taken_s = await cluster.wait_for(
                lambda: owned <= {name for other in others for name in other.owned}, timeout_s=5
            )
            assert taken_s < 0.3
            await cluster.wait_for(lambda: cluster.leader() >= 0, timeout_s=1)

    run_in_virtual_time(run)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize(("ends_cleanly", "warnings"), [(False, 1), (True, 0)])
def test_the_group_warns_once_of_who_is_gone(seed: int, ends_cleanly: bool, warnings: int) -> None:
    """A crash is in the log of whoever leads then, and a clean end is no reason to warn."""

    async def run() -> None:
        async with working_cluster(seed=seed) as cluster:
            await cluster.wait_for(lambda: cluster.leader() >= 0, timeout_s=5)
            await trio.sleep(3)
            # In turns the leader and another one.
            number = (cluster.leader() + seed) % 3
            with capture_logs() as logs:
                if ends_cleanly:
                    await cluster.stop(number)
                else:
                    cluster.crash(number)
                await trio.sleep(2)
            told = [line for line in logs if line["event"] == "cluster.member_gone"]
            assert [line["log_level"] for line in told].count("warning") == warnings

    run_in_virtual_time(run)


@pytest.mark.parametrize("seed", SEEDS)
def test_a_cut_off_instance_is_replaced_and_comes_back(seed: int) -> None:
    """Nobody says that an instance is gone which is frozen or cut off; its silence does."""

    async def run() -> None:
        async with working_cluster(seed=seed) as cluster:
            await trio.sleep(3)
            cut_off = seed % 3
            cluster.network.isolate(cluster.disk(cut_off).node)
            others = [cluster.processes[number] for number in range(3) if number != cut_off]
            taken_s = await cluster.wait_for(
                lambda: {name for other in others for name in other.owned} == COLLECTIONS,
                timeout_s=5,
            )
            assert 0.4 < taken_s < 2.0
            cluster.network.heal()
            await cluster.wait_for(
                lambda: cluster.is_working() and len(cluster.owned(cut_off)) >= 2, timeout_s=5
            )

    run_in_virtual_time(run)


@pytest.mark.parametrize("seed", SEEDS)
def test_a_deaf_instance_has_no_work_whatever_it_says(seed: int) -> None:
    """Who says something and hears nothing is as good as gone, and isn't given work in between."""

    async def run() -> None:
        async with working_cluster(seed=seed) as cluster:
            await trio.sleep(3)
            deaf = seed % 3
            cluster.network.deafen(cluster.disk(deaf).node)
            others = [cluster.processes[number] for number in range(3) if number != deaf]
            await cluster.wait_for(
                lambda: {name for other in others for name in other.owned} == COLLECTIONS,
                timeout_s=5,
            )
            owned = [other.owned for other in others]
            await trio.sleep(10)
            assert [other.owned for other in others] == owned
            cluster.network.heal()
            await cluster.wait_for(
                lambda: cluster.is_working() and len(cluster.owned(deaf)) >= 2, timeout_s=5
            )

    run_in_virtual_time(run)


@pytest.mark.parametrize("seed", SEEDS)
def test_an_instance_with_an_empty_disk_takes_its_old_place(seed: int) -> None:
    """A pod that lost its disk comes back as another node, and the old node leaves the group."""

    async def run() -> None:
        async with working_cluster(seed=seed) as cluster:
            lost = seed % 3
            old = cluster.disk(lost).node
            cluster.crash(lost)
            cluster.wipe(lost)
            cluster.start(lost)

            def is_replaced() -> bool:
                voters = [
                    view.configuration.voters
                    for process in cluster.processes.values()
                    if (view := process.node.view)
                ]
                nodes = {cluster.disk(number).node for number in range(3)}
                return voters == [nodes] * 3 and len(cluster.owned(lost)) >= 2

            await cluster.wait_for(is_replaced, timeout_s=10)
            assert old != cluster.disk(lost).node
            assert len(cluster.register.foundings) == 1

    run_in_virtual_time(run)


@pytest.mark.parametrize("seed", SEEDS)
def test_a_spare_takes_the_place_of_an_instance_that_stays_away(seed: int) -> None:
    """With more instances than the cluster's size the loss of one after the other is harmless."""

    async def run() -> None:
        async with working_cluster(seed=seed, instances=5) as cluster:
            await trio.sleep(5)
            for _ in range(2):
                (first, *_rest) = [number for number in cluster.processes if cluster.owned(number)]
                cluster.crash(first)
                await cluster.wait_working()
                await cluster.wait_for(
                    lambda: (
                        sorted(len(cluster.owned(number)) for number in cluster.processes)[-3:]
                        == [2, 2, 3]
                    ),
                    timeout_s=30,
                )

    run_in_virtual_time(run)


@pytest.mark.parametrize("seed", SEEDS)
def test_a_spare_is_taken_however_often_the_leader_changes(seed: int) -> None:
    """With a voter less every hiccup costs the leader its role; the replacement comes all the same.

    No leader lasts as long here as it takes to give a member up.
    """

    async def run() -> None:
        async with working_cluster(seed=seed, instances=4) as cluster:
            await trio.sleep(5)
            (first, *_rest) = [number for number in cluster.processes if cluster.owned(number)]
            gone = cluster.disk(first).node
            cluster.crash(first)

            def voters() -> AbstractSet[NodeId]:
                view = cluster.processes[cluster.leader()].node.view
                assert view is not None
                return view.configuration.voters

            for _ in range(10):
                await trio.sleep(GIVEN_UP_AFTER_S * 0.6)
                await cluster.wait_for(lambda: cluster.leader() >= 0, timeout_s=10)
                if gone not in voters():
                    break
                cluster.network.isolate(cluster.disk(cluster.leader()).node)
                await trio.sleep(3)
                cluster.network.heal()
            assert gone not in voters()
            assert len(voters()) == 3

    run_in_virtual_time(run)


@pytest.mark.parametrize("seed", SEEDS)
def test_a_group_that_lost_its_majority_for_good_is_replaced(seed: int) -> None:
    """Three disks, two of which are lost at once, become a new group that knows what was owned."""

    async def run() -> None:
        async with working_cluster(seed=seed) as cluster:
            epochs = [epoch for number in range(3) for epoch in cluster.owned(number).values()]
            for number in (0, 1):
                cluster.crash(number)
                cluster.wipe(number)
                cluster.start(number)
            await cluster.wait_for(lambda: len(cluster.register.foundings) == 2, timeout_s=40)
            await cluster.wait_for(
                lambda: (
                    cluster.is_working()
                    and min(
                        epoch for number in range(3) for epoch in cluster.owned(number).values()
                    )
                    > max(epochs)
                ),
                timeout_s=10,
            )

    run_in_virtual_time(run)


@virtual_time
async def test_all_instances_crash_at_once_and_come_back() -> None:
    """What they had is on their disks: the same group works again after an election."""
    async with working_cluster(seed=1) as cluster:
        await trio.sleep(2)
        for number in range(3):
            cluster.crash(number)
        cluster.start(0, 1, 2)
        assert await cluster.wait_working() < 3
        assert len(cluster.register.foundings) == 1


@virtual_time
async def test_a_removed_founding_is_put_back() -> None:
    """Whoever drops the database doesn't make room for a second group."""
    async with working_cluster(seed=1) as cluster:
        (founding,) = cluster.register.foundings
        cluster.register.foundings.clear()
        cluster.start(3, 4, 5)
        await trio.sleep(15)
        assert {found.group for found in cluster.register.foundings} == {founding.group}
        assert cluster.is_working()


@virtual_time
async def test_the_leader_has_everything_where_that_is_asked_for() -> None:
    """RAFT_ASSIGNMENT=leader makes one worker of the cluster, which the leadership goes with."""
    async with working_cluster(seed=1, assignment="leader") as cluster:
        await cluster.wait_for(lambda: cluster.leader() >= 0, timeout_s=5)
        leader = cluster.leader()
        await cluster.wait_for(lambda: cluster.owned(leader).keys() == COLLECTIONS, timeout_s=5)
        cluster.crash(leader)
        await cluster.wait_for(lambda: cluster.leader() >= 0, timeout_s=5)
        await cluster.wait_for(
            lambda: cluster.owned(cluster.leader()).keys() == COLLECTIONS, timeout_s=5
        )


@virtual_time
async def test_what_is_found_is_shared_out_and_stays() -> None:
    """A leader assigns what it finds, and the next one, who has found nothing yet, keeps it."""
    async with working_cluster(seed=1) as cluster:
        cluster.wanted = lambda shared: {*shared, "found"}
        await cluster.wait_for(lambda: "found" in _all_owned(cluster), timeout_s=5)
        cluster.wanted = lambda shared: shared
        before = {number: cluster.owned(number) for number in cluster.processes}
        leader = cluster.leader()
        cluster.crash(leader)
        await cluster.wait_for(lambda: _all_owned(cluster) == {*COLLECTIONS, "found"}, timeout_s=5)
        for number in cluster.processes:
            assert before[number].items() <= cluster.owned(number).items()


def _all_owned(cluster: VirtualCluster) -> set[str]:
    return {name for number in cluster.processes for name in cluster.owned(number)}


@virtual_time
async def test_an_owner_that_crashes_while_it_hands_over_does_not_hold_it_up() -> None:
    """A process that is back before it is missed releases what an earlier one of its disk owned."""
    async with trio.open_nursery() as nursery:
        cluster = VirtualCluster(nursery, seed=3)
        cluster.drain_s = 30
        cluster.start(0, 1)
        cluster.start(2)
        await cluster.wait_working()
        await trio.sleep(3)
        cluster.crash(2)
        await cluster.wait_working()
        cluster.start(2)  # the others begin to hand over, which takes them long
        await trio.sleep(1)
        for number in (0, 1):
            cluster.crash(number)
            cluster.start(number)
        await cluster.wait_working()
        nursery.cancel_scope.cancel()


@virtual_time
async def test_epochs_begin_with_the_time() -> None:
    """A group that was founded anew has higher epochs than what an earlier one left in a stream."""
    began_ms = time.time() * 1000
    async with working_cluster(seed=1) as cluster:
        epochs = [epoch for number in range(3) for epoch in cluster.owned(number).values()]
        assert min(epochs) >= int(began_ms)
