"""SIGTERM ends the connector in an orderly way, whatever it has in hand."""

from __future__ import annotations

from tests.deployment import Deploy
from tests.waiting import wait_until

BACKLOG = 30_000


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
