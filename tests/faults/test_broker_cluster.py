"""Nodes of a NATS cluster come and go: events are delayed, and nothing else happens to them.

The stream has three replicas, so one node may be lost without anybody's help. While two are away
the connector says that it can't publish, and it goes on by itself.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass

import pytest
from tests.connector import ConnectorProcess
from tests.deployment import Deploy, Deployment
from tests.nats_cluster import NODES, NatsCluster, deploy_replicated
from tests.servers import StartNatsServer
from tests.soak import SOAK

STALL_S = 5
"""After how long without publishing the connector says that it isn't ready."""

READY_S = 40
"""Elections, a lane's longest rest, and a first batch."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """A connector that publishes to a cluster to which things happen."""

    cluster: NatsCluster
    deployment: Deployment
    connector: ConnectorProcess
    rng: random.Random

    @property
    def stream(self) -> str:
        """The name of the stream."""
        return self.deployment.stream

    def leave_for(self, seconds: tuple[float, float]) -> None:
        """Leave things as they are for a while between these."""
        self.connector.run_for(self.rng.uniform(*seconds))

    def wait_whole(self) -> None:
        """Wait until the connector publishes, and the next node may be lost."""
        self.connector.wait_ready(timeout_s=READY_S)
        self.cluster.wait_replicated(self.stream)


Fault = Callable[[Scene], None]


def leader_killed(scene: Scene) -> None:
    """The leader crashes, and comes back."""
    leader = scene.cluster.leader(scene.stream)
    scene.cluster.kill(leader)
    scene.leave_for((0, 8))
    scene.cluster.come_back(leader)


def leader_frozen(scene: Scene) -> None:
    """The leader stands still, and goes on in the belief that it leads."""
    leader = scene.cluster.leader(scene.stream)
    scene.cluster.freeze(leader)
    scene.leave_for(scene.rng.choice(((0.1, 2), (2, 15))))
    scene.cluster.come_back(leader)


def leader_steps_down(scene: Scene) -> None:
    """The leader hands over."""
    scene.cluster.step_down(scene.stream)


def follower_killed(scene: Scene) -> None:
    """A node crashes that the connector may be connected to, and comes back."""
    follower = scene.rng.choice(scene.cluster.followers(scene.stream))
    scene.cluster.kill(follower)
    scene.leave_for((0, 5))
    scene.cluster.come_back(follower)


def follower_frozen(scene: Scene) -> None:
    """A node stands still that the connector may be connected to, and goes on."""
    follower = scene.rng.choice(scene.cluster.followers(scene.stream))
    scene.cluster.freeze(follower)
    scene.leave_for((0.1, 5))
    scene.cluster.come_back(follower)


def majority_lost(scene: Scene) -> None:
    """Two nodes crash for so long that the connector has to say so, and come back."""
    lost = scene.rng.sample(NODES, 2)
    for name in lost:
        scene.cluster.kill(name)
    scene.connector.wait_not_ready("has not been able to publish", timeout_s=STALL_S + 10)
    assert scene.connector.get("/health").json()["nats"] == "DOWN"
    scene.leave_for((0, 12))
    for name in lost:
        scene.cluster.come_back(name)


def nodes_renewed(scene: Scene) -> None:
    """Each node is restarted when the one before is there again, as in an upgrade."""
    for name in scene.rng.sample(NODES, len(NODES)):
        scene.cluster.stop(name)
        scene.cluster.come_back(name)
        scene.cluster.wait_replicated(scene.stream)


FAULTS = (
    leader_killed,
    leader_frozen,
    leader_steps_down,
    follower_killed,
    follower_frozen,
    majority_lost,
    nodes_renewed,
)


def show(number: int, times: int, what: object) -> None:
    """Print a fault that is about to happen."""
    print(f"{number} of {times}: {what}", flush=True)  # noqa: T201 - pytest shows it with a failure


@pytest.mark.parametrize(
    ("seed", "faults"),
    [
        pytest.param(1, FAULTS, id="sample"),
        *(pytest.param(2, [fault] * 20, id=fault.__name__, marks=SOAK) for fault in FAULTS),
    ],
)
def test_nodes_come_and_go(
    deploy: Deploy, start_own_nats: StartNatsServer, seed: int, faults: list[Fault]
) -> None:
    """Whatever happens to the nodes, each event is stored once and in order, by one process."""
    rng = random.Random(seed)
    cluster = NatsCluster(start_own_nats)
    deployment = deploy_replicated(cluster, deploy, NATS_ACK_TIMEOUT_S="1")
    connector = deployment.start_ready()
    scene = Scene(cluster=cluster, deployment=deployment, connector=connector, rng=rng)
    with deployment.writer(seed=seed) as writer:
        for number, fault in enumerate(faults, 1):
            writer.wait_for_events(rng.randrange(20, 200))
            show(number, len(faults), fault.__name__)
            fault(scene)
            scene.wait_whole()
    deployment.finish(writer.events)
    assert len(connector.log("service.started")) == 1
