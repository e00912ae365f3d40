"""Nodes of a replica set come and go, and the ways to them: events are late, and nothing else.

The set has three nodes, so one may be lost without anybody's help. While two are away the connector
says so, and it goes on by itself.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from pymongo.write_concern import WriteConcern
from tests.connector import ConnectorProcess
from tests.deployment import Deploy, Deployment
from tests.injection.faults import (
    BOTH_WAYS,
    ONE_WAY,
    Cut,
    Heal,
    Hold,
    LinkFault,
    Refuse,
    Swallow,
    Throttle,
)
from tests.mongo_cluster import NODES, MongoCluster, mongo_cluster
from tests.reads import find_read, kill_cursor, kill_operation
from tests.soak import SOAK
from tests.waiting import wait_until

READY_S = 60
"""Elections, and a lane's longest rest."""

NOTICED_S = 30
"""A node that doesn't answer is given up after four seconds, and lanes fail one after the other."""

GIVEN_UP_S = 15
"""Until a frozen node is given up: four seconds, and a busy machine; pymongo's default is 30 s."""

REPLY_BYTES = 20_000
"""More than so many the writer's changes take on the way from one fault to the next."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """A connector that reads from a replica set to which things happen."""

    cluster: MongoCluster
    deployment: Deployment
    connector: ConnectorProcess
    rng: random.Random
    rolled_back: list[str] = field(default_factory=list)
    """The ids of documents that MongoDB had confirmed and then forgot."""

    def leave_for(self, shortest_s: float, longest_s: float) -> None:
        """Leave things as they are for a while between these."""
        self.connector.run_for(self.rng.uniform(shortest_s, longest_s))

    def disturb(self, fault: LinkFault, nodes: Sequence[str]) -> None:
        """Let a fault happen to the connector's links to these nodes."""
        for name in nodes:
            self.cluster.links[name].inject(fault)

    def wait_mongo_down(self, reason: str) -> None:
        """Wait until the connector says that MongoDB is away, and why."""
        self.connector.wait_not_ready(reason, timeout_s=NOTICED_S)
        wait_until(
            lambda: self.connector.get("/health").json()["mongo"] == "DOWN",
            timeout_s=NOTICED_S,
            what="/health to say that MongoDB is down",
        )


Fault = Callable[[Scene], None]

# --- the nodes --------------------------------------------------------------------------------


def primary_killed(scene: Scene) -> None:
    """Let the primary crash, and come back."""
    primary = scene.cluster.primary()
    scene.cluster.kill(primary)
    scene.leave_for(0, 5)
    scene.cluster.come_back(primary)


def primary_steps_down(scene: Scene) -> None:
    """Let the primary hand over."""
    scene.cluster.step_down()


def primary_frozen(scene: Scene) -> None:
    """Let the primary stand still, and go on in the belief that it is one."""
    primary = scene.cluster.primary()
    scene.cluster.freeze(primary)
    scene.leave_for(*scene.rng.choice(((0.1, 2), (2, 12))))
    scene.cluster.come_back(primary)


def primary_frozen_until_noticed(scene: Scene) -> None:
    """Let the primary stand still until the connector gives it up."""
    primary = scene.cluster.primary()
    failed = len(scene.connector.log("lane.failed"))
    scene.cluster.freeze(primary)
    wait_until(
        lambda: len(scene.connector.log("lane.failed")) > failed,
        timeout_s=GIVEN_UP_S,
        what="the frozen primary to be given up",
    )
    scene.cluster.come_back(primary)


def majority_lost(scene: Scene, *, lasts_s: float = 0) -> None:
    """Let two nodes crash until the connector says so and then for a while, and come back."""
    lost = scene.rng.sample(NODES, 2)
    for name in lost:
        scene.cluster.kill(name)
    scene.wait_mongo_down("MongoDB has no primary")
    scene.connector.run_for(lasts_s)
    for name in lost:
        scene.cluster.come_back(name)


def majority_lost_for_20_s(scene: Scene) -> None:
    """Let two nodes crash, and come back after 20 seconds at the earliest."""
    majority_lost(scene, lasts_s=20)


def write_rolled_back(scene: Scene) -> None:
    """Let the primary confirm a write that no other node gets, and lose it.

    It is on the primary's disk, and a reader there sees it, but the next primary never had it.
    """
    name = scene.rng.choice(scene.deployment.collections)
    document_id = f"rolled back {len(scene.rolled_back)}"
    primary = scene.cluster.primary()
    with scene.cluster.replication_stopped():
        with scene.cluster.connected(primary) as client:
            collection = client[scene.deployment.database][name]
            journaled = collection.with_options(write_concern=WriteConcern(w=1, j=True))
            journaled.insert_one({"_id": document_id})
            assert collection.find_one(document_id), "the write can't be seen"
        scene.rolled_back.append(document_id)
        scene.leave_for(0.5, 1.5)
        scene.cluster.kill(primary)
    scene.cluster.primary()
    scene.leave_for(0, 2)
    scene.cluster.come_back(primary)
    scene.cluster.wait_whole()
    assert scene.deployment.db[name].find_one(document_id) is None, "it was not rolled back"


# --- what an administrator does ---------------------------------------------------------------


def read_killed(scene: Scene) -> None:
    """Kill the connector's cursor, or the operation that reads it."""
    kill = scene.rng.choice((kill_cursor, kill_operation))
    failed = len(scene.connector.log("lane.failed"))

    def is_killed() -> bool:
        # Again and again: an operation that was found may have ended before it is killed.
        kill(scene.deployment, find_read(scene.deployment))
        return len(scene.connector.log("lane.failed")) > failed

    wait_until(is_killed, timeout_s=20, what="the kill to be noticed")


# --- the ways to the nodes --------------------------------------------------------------------


def link_cut(scene: Scene) -> None:
    """Cut the connections to the primary within a reply."""
    link = scene.cluster.links[scene.cluster.primary()]
    cuts = link.statistics().cuts
    reset = scene.rng.random() < 0.5
    after_bytes = scene.rng.randrange(REPLY_BYTES)
    link.inject(Cut(after_bytes=after_bytes, direction="to_client", reset=reset))
    wait_until(lambda: link.statistics().cuts > cuts, timeout_s=30, what="the cut to happen")


def link_refused(scene: Scene) -> None:
    """End the connections to the primary, and let none be made for a while."""
    primary = [scene.cluster.primary()]
    scene.disturb(Refuse(cut=True), primary)
    scene.leave_for(0.1, 3)
    scene.disturb(Heal(), primary)


def link_held(scene: Scene) -> None:
    """Let nothing pass to the primary, from it, or both, for a while."""
    primary = [scene.cluster.primary()]
    scene.disturb(Hold(directions=scene.rng.choice((BOTH_WAYS, *ONE_WAY))), primary)
    scene.leave_for(0.1, 8)
    scene.disturb(Heal(), primary)


def link_swallowed(scene: Scene) -> None:
    """Lose what is sent to the primary, by it, or both, for a while."""
    primary = [scene.cluster.primary()]
    scene.disturb(Swallow(directions=scene.rng.choice((BOTH_WAYS, *ONE_WAY))), primary)
    scene.leave_for(0.1, 8)
    scene.disturb(Heal(), primary)


def link_throttled(scene: Scene) -> None:
    """Make the way to the primary narrow for a while."""
    primary = [scene.cluster.primary()]
    scene.disturb(Throttle(bytes_per_s=scene.rng.randrange(10_000, 300_000)), primary)
    scene.leave_for(1, 4)
    scene.disturb(Heal(), primary)


def all_links_held(scene: Scene) -> None:
    """Let nothing pass to any node until the connector says so."""
    scene.disturb(Hold(), NODES)
    scene.wait_mongo_down("MongoDB can't be reached: no answer in time")
    scene.disturb(Heal(), NODES)


NODE_FAULTS = (
    primary_killed,
    primary_steps_down,
    primary_frozen,
    primary_frozen_until_noticed,
    write_rolled_back,
    majority_lost_for_20_s,
)
LINK_FAULTS = (
    read_killed,
    link_cut,
    link_refused,
    link_held,
    link_swallowed,
    link_throttled,
    all_links_held,
)


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[MongoCluster]:
    """Run a replica set of the test's own."""
    with mongo_cluster(tmp_path / "set") as nodes:
        yield nodes


def show(what: str) -> None:
    """Print what is about to happen."""
    print(what, flush=True)  # noqa: T201 - pytest shows it with a failure


@pytest.mark.parametrize(
    ("seed", "rounds"),
    [
        pytest.param(
            1,
            (
                primary_killed,
                primary_steps_down,
                primary_frozen_until_noticed,
                write_rolled_back,
                majority_lost,
            ),
            id="nodes",
        ),
        pytest.param(1, (read_killed, link_cut, link_swallowed, all_links_held), id="links"),
        *(
            pytest.param(2, [fault] * 20, id=fault.__name__, marks=SOAK)
            for fault in (*NODE_FAULTS, *LINK_FAULTS)
        ),
    ],
)
def test_source_is_read_through_its_faults(
    cluster: MongoCluster, deploy: Deploy, seed: int, rounds: Sequence[Fault]
) -> None:
    """Whatever happens to the replica set, each committed event is stored once, by one process.

    What was rolled back is not stored, although MongoDB had confirmed it to who wrote it.
    """
    rng = random.Random(seed)
    deployment = deploy(mongod=cluster)
    connector = deployment.start_ready(MONGO_URI=cluster.outside_uri(deployment.database))
    scene = Scene(cluster=cluster, deployment=deployment, connector=connector, rng=rng)
    with deployment.writer(seed=seed) as writer:
        for number, fault in enumerate(rounds, 1):
            writer.wait_for_events(rng.randrange(20, 200), timeout_s=READY_S)
            show(f"{number} of {len(rounds)}: {fault.__name__}")
            fault(scene)
            cluster.wait_whole()
            connector.wait_ready(timeout_s=READY_S)
        writer.wait_for_events(50, timeout_s=READY_S)
    deployment.finish(writer.possible_events)
    assert len(connector.log("service.started")) == 1
    published = b"".join(message.payload for message in deployment.oracle.messages())
    assert b"rolled back" not in published
