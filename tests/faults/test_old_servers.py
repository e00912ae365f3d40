"""Without atomic batches the stream is as exact, whatever happens.

So on servers that don't have them, where events go out in chains, and across the way to newer ones.
The streams forget message ids after 100 ms.
"""

from __future__ import annotations

import random
import re
from collections.abc import Sequence
from functools import partial
from threading import Event

import pytest
from tests.connector import ConnectorProcess, sleep_in_turns
from tests.deployment import Deploy, Deployment
from tests.injection.addresses import nats_url
from tests.injection.faults import Cut, Fault, Freeze, Heal, Hold, Kill, Refuse, Start, Thaw
from tests.injection.operators import Operator
from tests.injection.play import play
from tests.injection.processes import ServerTarget
from tests.injection.script import FaultKind, generate
from tests.injection.thread import threaded
from tests.nats_cluster import NatsCluster, deploy_replicated
from tests.servers import DENYING, OLD_SERVERS, StartNatsServer, login
from tests.soak import SOAK
from tests.waiting import wait_until

from mnc.embedded.servers import NatsServerProcess

BATCH_BYTES = 50_000
RARELY_S = "60"
"""How rarely token documents are written: they lag, and the stream says where to go on."""

VERSIONS = pytest.mark.parametrize("version", OLD_SERVERS)


class Connectors:
    """A target of faults: one connector of a deployment, and its successors."""

    def __init__(self, deployment: Deployment) -> None:
        self._deployment = deployment
        self.newest = deployment.start_ready()

    def inject(self, fault: Fault, /) -> None:
        """Let `fault` happen; see `Target.inject`."""
        match fault:
            case Kill():
                self.newest.kill()
            case Start():
                self.newest = self._deployment.start()
            case Freeze():
                self.newest.pause()
            case Thaw():
                self.newest.resume()
            case _:
                raise TypeError(f"{fault} can't happen to a connector")


def cut(rng: random.Random) -> Cut:
    """Cut the connection in a batch, or in an answer."""
    if rng.random() < 0.5:
        return Cut(after_bytes=rng.randrange(BATCH_BYTES), direction="to_server")
    return Cut(after_bytes=rng.randrange(500), direction="to_client")


def always(fault: Fault, _: random.Random) -> Fault:
    """Draw the same fault each time."""
    return fault


def kind(target: str, fault: Fault, end: Fault, *lasts_s: float) -> FaultKind:
    """Return a kind of fault that lasts from so long to so long."""
    shortest_s, longest_s = lasts_s
    draw = partial(always, fault)
    return FaultKind(target=target, draw=draw, lasts_s=(shortest_s, longest_s), end=end)


KILL_CONNECTOR = kind("mnc", Kill(), Start(), 0.0, 0.3)
NAP = kind("mnc", Freeze(), Thaw(), 0.2, 1.5)
KILL_BROKER = kind("broker", Kill(), Start(), 0.0, 0.5)
FREEZE_BROKER = kind("broker", Freeze(), Thaw(), 0.1, 1.5)
CUT = FaultKind(target="link", draw=cut, lasts_s=(0.3, 1.0), end=Heal())
HOLD = kind("link", Hold(), Heal(), 0.1, 3)
REFUSE = kind("link", Refuse(cut=True), Heal(), 0.1, 1)

KINDS = {
    "kill -9": KILL_CONNECTOR,
    "nap": NAP,
    "broker killed": KILL_BROKER,
    "broker frozen": FREEZE_BROKER,
    "cut": CUT,
    "hold": HOLD,
    "refuse": REFUSE,
}


@pytest.fixture(params=OLD_SERVERS)
def broker(
    request: pytest.FixtureRequest, start_own_nats: StartNatsServer
) -> ServerTarget[NatsServerProcess]:
    """Start an old server that faults may happen to."""

    def start(before: NatsServerProcess) -> NatsServerProcess:
        return start_own_nats(before.data_dir, port=before.port, version=request.param)

    return ServerTarget(start_own_nats(version=request.param), start=start)


def check_mode(connector: ConnectorProcess, mode: str) -> None:
    """Assert that a connector publishes in this mode and says what that doesn't promise."""
    publishing = connector.get("/status").json()["publishing"]
    assert publishing["mode"] == mode
    assert bool(publishing["not_promised"]) == (mode != "atomic")
    shown = connector.get("/metrics").text
    assert re.search(rf'mnc_publish_mode{{mode="{mode}",stream="\w+"}} 1\.0', shown)


@pytest.mark.parametrize(
    ("kinds", "seed", "rounds"),
    [
        pytest.param(tuple(KINDS.values()), 1, 14, id="all"),
        *(pytest.param((each,), 2, 20, id=name, marks=SOAK) for name, each in KINDS.items()),
        pytest.param(tuple(KINDS.values()), 3, 140, id="all for long", marks=SOAK),
    ],
)
def test_faults_leave_an_old_servers_stream_exact(
    deploy: Deploy,
    broker: ServerTarget[NatsServerProcess],
    kinds: Sequence[FaultKind],
    seed: int,
    rounds: int,
) -> None:
    """Whatever ends, sleeps or breaks, and when, no event is lost, doubled or misplaced."""
    script = generate(kinds, seed=seed, faults=rounds, pause_s=(0.3, 1.0))
    with threaded(broker.server.port, seed=seed) as link:
        deployment = deploy(
            nats_server=broker.server,
            NATS_SERVER_URL=nats_url(link.port),
            NATS_ACK_TIMEOUT_S="0.5",
            CHECKPOINT_INTERVAL_S=RARELY_S,
        )
        connectors = Connectors(deployment)
        check_mode(connectors.newest, "chained")
        with deployment.writer(seed=seed, pause_s=0.001) as writer:
            play(
                script,
                {"mnc": connectors, "broker": broker, "link": link},
                wait=Event().wait,  # a connector that was killed can't be watched meanwhile
            )
            connectors.newest.wait_ready(timeout_s=40)
        deployment.finish(writer.events)


@VERSIONS
@pytest.mark.parametrize(("seed", "rounds"), [(1, 6), pytest.param(2, 100, marks=SOAK)])
def test_stale_writers_cannot_append_on_old_servers(
    deploy: Deploy, start_own_nats: StartNatsServer, version: str, seed: int, rounds: int
) -> None:
    """Two connectors that own the same collections race for every window, and sleep in turns."""
    rng = random.Random(seed)
    deployment = deploy(nats_server=start_own_nats(version=version), CHECKPOINT_INTERVAL_S=RARELY_S)
    connectors = (deployment.start_ready(), deployment.start_ready())
    with deployment.writer(seed=seed, pause_s=0.001) as writer:
        sleep_in_turns(connectors, rng=rng, times=rounds)
    deployment.finish(writer.events)
    for connector in connectors:
        assert connector.log("publish.recovered") or connector.log("lane.failed")


@pytest.mark.parametrize(
    ("window_s", "mode", "rounds"),
    [
        (10, "sequential", 2),
        *(pytest.param(*each, 20, marks=SOAK) for each in ((10, "sequential"), (120, "chained"))),
    ],
)
def test_replicated_streams_of_old_servers_stay_exact(
    deploy: Deploy, start_own_nats: StartNatsServer, window_s: float, mode: str, rounds: int
) -> None:
    """Leaders are killed and frozen while a connector writes alone, crashes, and goes on.

    With a narrow duplicate window messages go out one by one: replicas may not agree on the id of
    the last one. It isn't as narrow as elsewhere here: with 100 ms such a server's replicas stopped
    following their leader once.
    """
    rng = random.Random(1)
    cluster = NatsCluster(partial(start_own_nats, version=OLD_SERVERS[-1]))
    deployment = deploy_replicated(cluster, deploy, duplicate_window_s=window_s)
    connector = deployment.start_ready()
    check_mode(connector, mode)
    with deployment.writer(seed=1, pause_s=0.01) as writer:
        for number in range(1, rounds + 1):
            writer.wait_for_events(rng.randrange(20, 100))
            leader = cluster.leader(deployment.stream)
            lose = rng.choice((cluster.kill, cluster.freeze))
            print(f"{number} of {rounds}: {lose.__name__}")  # noqa: T201 - shown with a failure
            lose(leader)
            connector.run_for(rng.uniform(0.1, 5))
            if rng.random() < 0.5:
                connector.kill()
                connector = deployment.start()
            cluster.come_back(leader)
            connector.wait_ready(timeout_s=40)
            cluster.replace_lost(deployment.stream)
    deployment.finish(writer.events)


@VERSIONS
def test_an_upgraded_server_is_used_from_where_the_old_one_ended(
    deploy: Deploy, start_own_nats: StartNatsServer, version: str
) -> None:
    """After a crash and an upgrade the events go on behind the last one, in atomic batches.

    The connector that runs meanwhile goes on as it is; those that start then do better.
    """
    server = start_own_nats(version=version)
    deployment = deploy(nats_server=server, CHECKPOINT_INTERVAL_S=RARELY_S)
    connector = deployment.start_ready()
    with deployment.writer(seed=1) as writer:
        writer.wait_for_events(100)
        server.stop()
        start_own_nats(server.data_dir, port=server.port)
        published = connector.counted("events_published")
        wait_until(
            lambda: connector.counted("events_published") > published + 100,
            timeout_s=20,
            what="events to be published to the new server",
        )
        check_mode(connector, "chained")
        connector.kill()
        writer.wait_for_events(100)
        connector = deployment.start_ready()
        check_mode(connector, "atomic")
        writer.wait_for_events(100)
    deployment.finish(writer.events)
    assert all(deployment.marker_token(name) for name in deployment.collections)


def test_a_stream_that_gets_batches_is_used_from_where_it_was(
    deploy: Deploy, start_own_nats: StartNatsServer
) -> None:
    """An operator's stream is written as it is, and in batches once the operator has allowed them.

    The connector without the right to do so says the command. Another one may run beside it.
    """
    server = start_own_nats(extra_config=DENYING)
    deployment = deploy(
        nats_server=server,
        NATS_SERVER_URL=login(server.url, "mnc"),
        NATS_ACK_TIMEOUT_S="1",
        CHECKPOINT_INTERVAL_S=RARELY_S,
    )
    connector = deployment.start_ready()
    check_mode(connector, "chained")
    (chosen,) = connector.log("stream.mode_chosen")
    assert f"nats stream edit {deployment.stream}" in chosen["remedy"]
    with deployment.writer(seed=1) as writer:
        writer.wait_for_events(100)
        Operator(deployment.nats_url, deployment.stream).amend(
            subjects=[f"{deployment.stream}.*.*.*", f"{deployment.stream}_position.*"],
            allow_atomic=True,
            allow_rollup_hdrs=True,
            allow_msg_ttl=True,
        )
        other = deployment.start_ready()
        check_mode(other, "atomic")
        writer.wait_for_events(100)
        connector.kill()
        writer.wait_for_events(100)
        other.kill()
        deployment.start_ready()
        writer.wait_for_events(100)
    deployment.finish(writer.events)


def test_required_fencing_refuses_an_old_server(
    deploy: Deploy, start_own_nats: StartNatsServer
) -> None:
    """With NATS_REQUIRE_FENCING nothing is published there, and the reason says what would do."""
    server = start_own_nats(version=OLD_SERVERS[-1])
    deployment = deploy(nats_server=server, NATS_REQUIRE_FENCING="true")
    connector = deployment.start()
    connector.wait_not_ready("run nats-server 2.12 or newer", timeout_s=20)
    assert connector.get("/status").json()["publishing"]["mode"] is None
