"""A broker that is away delays events, and nothing else: none is lost, doubled or misplaced."""

from __future__ import annotations

import os
import random
import shutil
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.deployment import Deploy
from tests.servers import StartNatsServer
from tests.soak import SOAK
from tests.waiting import wait_until

from mnc.embedded.servers import NatsServerProcess

STALL_S = 5
"""After how long without publishing the connector says that it isn't ready."""

Outage = Callable[[NatsServerProcess, StartNatsServer], Callable[[], object]]
"""Makes the broker go away and returns what makes it come back."""


def killed(server: NatsServerProcess, start: StartNatsServer) -> Callable[[], object]:
    """Let it crash, and come back on its port and its data."""
    server.kill()
    return lambda: start(server.data_dir, port=server.port)


def frozen(server: NatsServerProcess, _: StartNatsServer) -> Callable[[], object]:
    """Let it keep its connections and answer nothing."""
    os.kill(server.pid, signal.SIGSTOP)
    return lambda: os.kill(server.pid, signal.SIGCONT)


OUTAGES = pytest.mark.parametrize("outage", [killed, frozen])


@OUTAGES
def test_events_captured_but_not_published_survive_a_crash(
    deploy: Deploy, start_own_nats: StartNatsServer, outage: Outage
) -> None:
    """What was read from MongoDB, but not stored, when the connector crashed is read again."""
    server = start_own_nats()
    deployment = deploy(nats_server=server)
    connector = deployment.start_ready()
    with deployment.writer(seed=1) as writer:
        writer.wait_for_events(100)
        come_back = outage(server, start_own_nats)
        in_stream = connector.counted("events_published")
        writer.wait_for_events(100)
        wait_until(
            lambda: connector.counted("events_captured") > in_stream + 50,
            timeout_s=10,
            what="events to be captured that can't be published",
        )
        connector.kill()
        come_back()
        deployment.start()
    deployment.finish(writer.events)


@OUTAGES
def test_outage_under_writes_is_reported_and_waited_for(
    deploy: Deploy, start_own_nats: StartNatsServer, outage: Outage
) -> None:
    """Without a restart the connector says that it can't publish, then publishes what it holds."""
    server = start_own_nats()
    deployment = deploy(nats_server=server, NATS_ACK_TIMEOUT_S="1")
    connector = deployment.start_ready()
    with deployment.writer(seed=2) as writer:
        writer.wait_for_events(100)
        come_back = outage(server, start_own_nats)
        connector.wait_not_ready("has not been able to publish", timeout_s=STALL_S + 10)
        come_back()
        connector.wait_ready(timeout_s=20)
        writer.wait_for_events(100)
    deployment.finish(writer.events)
    assert not connector.log("lane.failed")


@OUTAGES
def test_outage_that_began_while_idle_is_reported_too(
    deploy: Deploy, start_own_nats: StartNatsServer, outage: Outage
) -> None:
    """Also when no batch was in flight at its beginning, events that can't go on are reported."""
    server = start_own_nats()
    deployment = deploy(nats_server=server, NATS_ACK_TIMEOUT_S="1")
    connector = deployment.start_ready()
    come_back = outage(server, start_own_nats)
    connector.wait_for_log("nats.disconnected")
    with deployment.writer(seed=3) as writer:
        writer.wait_for_events(10)
    connector.wait_not_ready("has not been able to publish", timeout_s=STALL_S + 5)
    come_back()
    connector.wait_ready(timeout_s=20)
    deployment.finish(writer.events)


@pytest.mark.parametrize(("seed", "rounds"), [(1, 10), pytest.param(2, 100, marks=SOAK)])
def test_short_outages_mid_batch_leave_the_stream_exact(
    deploy: Deploy, start_own_nats: StartNatsServer, seed: int, rounds: int
) -> None:
    """Batches whose answer never came are stored once, whether the broker had them or not."""
    rng = random.Random(seed)
    server = start_own_nats()
    deployment = deploy(nats_server=server, NATS_ACK_TIMEOUT_S="0.2")
    connector = deployment.start_ready()
    with deployment.writer(seed=seed) as writer:
        for _ in range(rounds):
            connector.run_for(rng.uniform(0.1, 0.5))
            if rng.random() < 0.3:
                server.kill()
                connector.run_for(rng.uniform(0.0, 0.5))
                server = start_own_nats(server.data_dir, port=server.port)
            else:
                os.kill(server.pid, signal.SIGSTOP)
                connector.run_for(rng.uniform(0.1, 1.5))
                os.kill(server.pid, signal.SIGCONT)
    deployment.finish(writer.events)
    assert connector.log("publish.recovered"), "no batch was stored without an answer"


@pytest.mark.parametrize("rounds", [pytest.param(20, marks=SOAK)])
def test_outages_of_a_second_to_a_minute_leave_the_stream_exact(
    deploy: Deploy, start_own_nats: StartNatsServer, rounds: int
) -> None:
    """However long a broker is away, the same process goes on with it, and misses nothing."""
    rng = random.Random(5)
    server = start_own_nats()
    deployment = deploy(nats_server=server)
    connector = deployment.start_ready()
    with deployment.writer(seed=5, pause_s=0.02) as writer:
        for number in range(1, rounds + 1):
            away_s = rng.uniform(1, 60)
            print(f"{number} of {rounds}: {away_s:.0f} s")  # noqa: T201 - pytest shows it with a failure
            server.kill()
            connector.run_for(away_s)
            server = start_own_nats(server.data_dir, port=server.port)
            connector.wait_ready(timeout_s=20)
            writer.wait_for_events(20)
    deployment.finish(writer.events)
    assert not connector.log("lane.failed")


def test_broker_restored_from_a_backup_gets_what_it_lost(
    deploy: Deploy, start_own_nats: StartNatsServer, tmp_path: Path
) -> None:
    """A broker that forgot its latest messages gets them again, from a connector that goes on.

    So it is too after a power failure: nats-server doesn't wait for the disk by default. The token
    documents are ahead of the stream then, and don't count.
    """
    server = start_own_nats()
    deployment = deploy(nats_server=server)
    connector = deployment.start_ready()
    with deployment.writer(seed=4) as writer:
        writer.wait_for_events(100)
        server.stop()
        backup = shutil.copytree(server.data_dir, tmp_path / "backup")
        server = start_own_nats(server.data_dir, port=server.port)
        checkpointed = connector.counted("events_checkpointed")
        wait_until(
            lambda: connector.counted("events_checkpointed") > checkpointed + 50,
            timeout_s=20,
            what="events to be stored and checkpointed that the backup doesn't have",
        )
        server.kill()
        start_own_nats(backup, port=server.port)
        connector.wait_ready()
    deployment.finish(writer.events)
