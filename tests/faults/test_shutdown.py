"""SIGTERM ends the connector in an orderly way, whatever it has in hand."""

from __future__ import annotations

import pytest
from tests.deployment import Deploy
from tests.servers import StartNatsServer
from tests.waiting import wait_until

BACKLOG = 20_000


def test_sigterm_in_a_backlog_drains_what_was_captured(deploy: Deploy) -> None:
    """What it captured is stored and checkpointed, it exits with 0, and the next one goes on."""
    deployment = deploy()
    deployment.start_ready().terminate()
    for first in range(0, BACKLOG, 1000):
        name = deployment.collections[first // 1000 % 2]
        deployment.db[name].insert_many({"n": n} for n in range(first, first + 1000))
    connector = deployment.start()
    wait_until(lambda: connector.counted("events_published"), timeout_s=30, what="a first batch")
    assert connector.terminate() == 0
    stored = len(deployment.oracle.messages())
    assert 0 < stored < BACKLOG, "it didn't end in the middle"
    for name in deployment.collections:
        document = deployment.token_document(name)
        assert document is not None
        assert document["token"] == deployment.marker_token(name)
    deployment.start()
    deployment.finish(BACKLOG)


@pytest.mark.parametrize("signals", [1, 2])
def test_sigterm_while_the_broker_is_away_ends_in_time(
    deploy: Deploy, start_own_nats: StartNatsServer, signals: int
) -> None:
    """What can't be drained is left at the deadline, or at a second signal, and is not lost."""
    server = start_own_nats()
    timeout_s = 2 if signals == 1 else 60
    deployment = deploy(nats_server=server, SHUTDOWN_TIMEOUT_S=str(timeout_s))
    connector = deployment.start_ready()
    server.kill()
    with deployment.writer(seed=signals) as writer:
        writer.wait_for_events(100)
        wait_until(lambda: connector.counted("events_captured") > 0, timeout_s=10, what="an event")
        if signals == 2:
            connector.request_end()
            connector.wait_for_log("service.stopping")
        assert connector.terminate(timeout_s=10) == 0
        start_own_nats(server.data_dir, port=server.port)
        deployment.start()
    deployment.finish(writer.events)
