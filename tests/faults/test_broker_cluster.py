"""Nodes of a NATS cluster come and go: events are delayed, and nothing else happens to them.

The stream has three replicas, so one node may be lost without anybody's help. While two are away
the connector says that it can't publish, and it goes on by itself.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass

import pytest
from tests.connector import ConnectorProcess
from tests.deployment import Deploy, Deployment
from tests.injection.addresses import nats_url
from tests.injection.faults import Cut, Heal, Trap
from tests.injection.thread import ThreadedProxy, threaded
from tests.nats_cluster import NODES, NatsCluster, deploy_replicated
from tests.servers import StartNatsServer
from tests.soak import SOAK
from tests.waiting import wait_until

STALL_S = 5
"""After how long without publishing the connector says that it isn't ready."""

LEADERLESS_S = 25
"""nats-server notices a lost majority after 10 to 20 s."""

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
    """Let the leader crash, and come back."""
    leader = scene.cluster.leader(scene.stream)
    scene.cluster.kill(leader)
    scene.leave_for((0, 8))
    scene.cluster.come_back(leader)


def leader_frozen(scene: Scene) -> None:
    """Let the leader stand still, and go on in the belief that it leads."""
    leader = scene.cluster.leader(scene.stream)
    scene.cluster.freeze(leader)
    scene.leave_for(scene.rng.choice(((0.1, 2), (2, 15))))
    scene.cluster.come_back(leader)


def leader_steps_down(scene: Scene) -> None:
    """Let the leader hand over."""
    scene.cluster.step_down(scene.stream)


def follower_killed(scene: Scene) -> None:
    """Let a node crash that the connector may be connected to, and come back."""
    follower = scene.rng.choice(scene.cluster.followers(scene.stream))
    scene.cluster.kill(follower)
    scene.leave_for((0, 5))
    scene.cluster.come_back(follower)


def follower_frozen(scene: Scene) -> None:
    """Let a node stand still that the connector may be connected to, and go on."""
    follower = scene.rng.choice(scene.cluster.followers(scene.stream))
    scene.cluster.freeze(follower)
    scene.leave_for((0.1, 5))
    scene.cluster.come_back(follower)


def majority_lost(scene: Scene) -> None:
    """Let two nodes crash, for so long that the connector has to say so, and come back."""
    lost = scene.rng.sample(NODES, 2)
    for name in lost:
        scene.cluster.kill(name)
    # A lane waits or has failed, by what the node that is left answers: it is named either way.
    scene.connector.wait_not_ready(scene.deployment.database, timeout_s=STALL_S + 10)
    # A leader says that it leads until it notices that nobody follows.
    wait_until(
        lambda: scene.connector.get("/health").json()["nats"] == "DOWN",
        timeout_s=LEADERLESS_S,
        what="/health to say that NATS is down",
    )
    scene.leave_for((0, 12))
    for name in lost:
        scene.cluster.come_back(name)


def nodes_renewed(scene: Scene) -> None:
    """Restart each node when the one before is there again, as in an upgrade."""
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


def show(what: str) -> None:
    """Print what is about to happen."""
    print(what, flush=True)  # noqa: T201 - pytest shows it with a failure


@pytest.mark.parametrize(
    ("seed", "rounds"),
    [
        pytest.param(1, (leader_frozen, follower_killed), id="sample"),
        *(pytest.param(2, [fault] * 20, id=fault.__name__, marks=SOAK) for fault in FAULTS),
    ],
)
def test_nodes_come_and_go(
    deploy: Deploy, start_own_nats: StartNatsServer, seed: int, rounds: Sequence[Fault]
) -> None:
    """Whatever happens to the nodes, each event is stored once and in order, by one process."""
    rng = random.Random(seed)
    cluster = NatsCluster(start_own_nats)
    deployment = deploy_replicated(cluster, deploy)
    connector = deployment.start_ready()
    scene = Scene(cluster=cluster, deployment=deployment, connector=connector, rng=rng)
    with deployment.writer(seed=seed) as writer:
        for number, fault in enumerate(rounds, 1):
            writer.wait_for_events(rng.randrange(20, 200))
            show(f"{number} of {len(rounds)}: {fault.__name__}")
            fault(scene)
            scene.wait_whole()
    deployment.finish(writer.events)
    assert len(connector.log("service.started")) == 1


# --- at every step of a batch -----------------------------------------------------------------

BULK = 300
"""So many documents at once make batches of more than FEW events, whatever has happened before."""

FEW = 60

Draw = Callable[[random.Random], Trap]


def before_first_message(_: random.Random) -> Trap:
    """Stop when nothing of the batch is sent."""
    return Trap(pattern=b"Nats-Batch-Sequence: 1\r\n")


def after_some_messages(rng: random.Random) -> Trap:
    """Stop when a part of the batch is sent."""
    return Trap(pattern=f"Nats-Batch-Sequence: {rng.randrange(2, FEW)}\r\n".encode())


def before_commit(_: random.Random) -> Trap:
    """Stop when all is sent but the message that commits the batch."""
    return Trap(pattern=b"Nats-Batch-Commit: 1\r\n")


def before_answer(_: random.Random) -> Trap:
    """Stop when the batch is stored, and the connector has not heard of it."""
    return Trap(pattern=b'"batch":', direction="to_client")


STEPS = (before_first_message, after_some_messages, before_commit, before_answer)


@pytest.fixture
def open_link() -> Iterator[Callable[[int], ThreadedProxy]]:
    """Put proxies before ports, until the end of the test."""
    with ExitStack() as proxies:
        yield lambda port: proxies.enter_context(threaded(port))


def insert_bulk(deployment: Deployment) -> int:
    """Insert what makes large batches for each collection; return the number of events."""
    for name in deployment.collections:
        deployment.db[name].insert_many({"n": n} for n in range(BULK))
    return BULK * len(deployment.collections)


def lose_leader_at(scene: Scene, links: Mapping[str, ThreadedProxy], trap: Trap) -> int:
    """Kill or freeze the leader when a trap springs; return the number of events written.

    The connector may be connected to the leader, or to a node that passes its messages on. What is
    on the way then goes on, or is lost.
    """
    connected = next(name for name in NODES if links[name].statistics().connections_open)
    leader = scene.rng.choice(NODES)
    scene.cluster.lead(scene.stream, leader)
    lose = scene.rng.choice((scene.cluster.kill, scene.cluster.freeze))
    goes_on = scene.rng.random() < 0.5
    fate = "goes on" if goes_on else "lost"
    show(f"{lose.__name__} {leader}, connected to {connected}, on the way {fate}: {trap}")
    link = links[connected]
    sprung = link.statistics().traps_sprung
    link.inject(trap)
    events = insert_bulk(scene.deployment)
    wait_until(
        lambda: link.statistics().traps_sprung > sprung, timeout_s=20, what="the trap to spring"
    )
    lose(leader)
    if not goes_on:
        link.inject(Cut())
    link.inject(Heal())
    scene.leave_for((0, 6))
    scene.cluster.come_back(leader)
    return events


@pytest.mark.parametrize(
    ("seed", "rounds"),
    [
        pytest.param(1, STEPS, id="sample"),
        *(pytest.param(2, [step] * 20, id=step.__name__, marks=SOAK) for step in STEPS),
    ],
)
def test_leader_is_lost_at_a_step_of_a_batch(
    deploy: Deploy,
    start_own_nats: StartNatsServer,
    open_link: Callable[[int], ThreadedProxy],
    seed: int,
    rounds: Sequence[Draw],
) -> None:
    """A batch whose leader is lost is stored once, or not at all and then again, whole."""
    rng = random.Random(seed)
    cluster = NatsCluster(start_own_nats)
    links = {name: open_link(cluster.server(name).port) for name in NODES}
    urls = ",".join(nats_url(link.port) for link in links.values())
    deployment = deploy_replicated(cluster, deploy, nats_url=urls)
    connector = deployment.start_ready()
    scene = Scene(cluster=cluster, deployment=deployment, connector=connector, rng=rng)
    bulk_events = 0
    with deployment.writer(seed=seed) as writer:
        for number, step in enumerate(rounds, 1):
            show(f"{number} of {len(rounds)}: {step.__name__}")
            bulk_events += lose_leader_at(scene, links, step(rng))
            scene.wait_whole()
    deployment.finish(writer.events + bulk_events)
    assert len(connector.log("service.started")) == 1
