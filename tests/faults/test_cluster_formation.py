"""How a cluster forms, and forms anew: one group at a time, however many start or forget."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from tests.cluster import SIZE, Cluster
from tests.deployment import Deploy
from tests.injection.harms import COLLECTIONS
from tests.soak import SOAK
from tests.waiting import wait_until

REPLACED_S = 10
"""After how long the group takes a spare for a member that is gone."""

LOST_S = 15
"""After how long without a leader a group is taken for lost."""

ROUNDS = [(1, 1), pytest.param(2, 20, marks=SOAK)]


def wait_for_workers(cluster: Cluster) -> None:
    """Wait until as many instances work as the cluster's size, those that stand by among them."""
    wait_until(
        lambda: len(set(cluster.owners().values())) == SIZE,
        timeout_s=REPLACED_S + 50,
        what="a spare to work",
    )


def wait_for_groups(cluster: Cluster, count: int) -> None:
    """Wait until there have been so many groups."""
    wait_until(
        lambda: len(cluster.groups_entered()) == count,
        timeout_s=LOST_S + 45,
        what=f"group {count}",
    )


@pytest.mark.parametrize(("seed", "rounds"), ROUNDS)
def test_five_started_at_once_form_one_group_of_three(
    deploy: Deploy, tmp_path: Path, seed: int, rounds: int
) -> None:
    """Three of five work and two stand by, one of whom takes the place of a member that is gone."""
    rng = random.Random(seed)
    for _ in range(rounds):
        deployment = deploy(collections=COLLECTIONS)
        cluster = Cluster(deployment, folder=tmp_path, instances=SIZE + 2)
        cluster.wait_working()
        assert len(cluster.groups_entered()) == 1
        workers = set(cluster.owners().values())
        assert len(workers) == SIZE
        assert workers == cluster.voters()
        assert [cluster.status(number)["dropped"] for number in cluster.instances] == [0] * 5
        with deployment.writer(seed=seed) as writer:
            writer.wait_for_events(50)
            cluster.kill(rng.choice(sorted(workers)))
            wait_for_workers(cluster)
        cluster.wait_working()
        assert len(cluster.groups_entered()) == 1
        deployment.finish(writer.events)


@pytest.mark.parametrize(("seed", "rounds"), ROUNDS)
def test_loss_of_two_disks_at_once_makes_a_new_group(
    deploy: Deploy, tmp_path: Path, seed: int, rounds: int
) -> None:
    """A group that has lost its majority for good is replaced, and its work goes on."""
    rng = random.Random(seed)
    deployment = deploy(collections=COLLECTIONS)
    cluster = Cluster(deployment, folder=tmp_path)
    cluster.wait_working()
    with deployment.writer(seed=seed) as writer:
        for number in range(1, rounds + 1):
            lost = rng.sample(range(SIZE), SIZE - 1)
            for each in lost:
                cluster.kill(each)
                cluster.wipe(each)
            for each in lost:
                cluster.start(each)
            wait_for_groups(cluster, 1 + number)
            cluster.wait_working()
    assert len(cluster.groups_entered()) == 1 + rounds
    deployment.finish(writer.events)


def test_second_process_on_one_disk_ends(deploy: Deploy, tmp_path: Path) -> None:
    """Two instances never share a disk: the second one says so and ends with code 2."""
    settings = {"RAFT_CLUSTER_SIZE": "3", "RAFT_LOG_PATH": str(tmp_path / "raft")}
    deployment = deploy()
    first = deployment.start(**settings)
    first.wait_for_log("service.started")
    second = deployment.start(**settings)
    assert second.wait_ended() == 2
    assert "RAFT_LOG_PATH" in second.said()
    assert str(tmp_path / "raft") in second.said()
    assert first.is_alive


def test_instances_of_another_cluster_are_named(deploy: Deploy, tmp_path: Path) -> None:
    """Who has the name of a cluster, and another size or stream, is left alone and reported."""
    deployment = deploy()
    own = {"size": {"RAFT_CLUSTER_SIZE": "5"}, "stream": {"NATS_STREAM_NAME": "another"}, "": {}}
    instances = {
        name: deployment.start(
            **{
                "RAFT_CLUSTER_SIZE": "3",
                "RAFT_CLUSTER_NAME": deployment.stream,
                "RAFT_LOG_PATH": str(tmp_path / f"raft-{name}"),
                **settings,
            }
        )
        for name, settings in own.items()
    }
    seen = {
        "": ["other scope", "other size: 5"],
        "size": ["other size: 3", "other size: 3"],
        "stream": ["other scope", "other size: 5"],
    }

    def strangers(name: str) -> list[str]:
        return sorted(instances[name].get("/status").json()["cluster"]["strangers"].values())

    wait_until(
        lambda: {name: strangers(name) for name in instances} == seen,
        timeout_s=10,
        what="each to name the others",
    )
    for instance in instances.values():
        assert "1 of " in instance.reasons()[0]
        assert len(instance.log("cluster.stranger")) == len(instances) - 1
        assert not instance.log("cluster.entered")
