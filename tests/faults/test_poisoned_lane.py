"""A collection that stops at an event that the broker refuses waits alone, and says why."""

from __future__ import annotations

from tests.deployment import Deploy
from tests.servers import StartNatsServer
from tests.waiting import wait_until

MIB = 1024 * 1024


def test_event_over_the_brokers_limit_holds_up_its_own_collection_alone(
    deploy: Deploy, start_own_nats: StartNatsServer
) -> None:
    """The other collection goes on; with a larger limit the poisoned one does too, by itself.

    A refused lane tries again every 15 to 30 s, so that the recovery may take as long.
    """
    server = start_own_nats()  # its max_payload is 1 MiB
    deployment = deploy(nats_server=server, NATS_OVERSIZE="stop")
    poisoned, other = deployment.collections
    connector = deployment.start_ready()
    deployment.db[poisoned].insert_one({"large": "x" * 2 * MIB})
    connector.wait_not_ready("max_payload", timeout_s=10)
    (reason,) = connector.reasons()
    assert f"{deployment.database}.{poisoned} " in reason
    assert "NATS_OVERSIZE" in reason
    deployment.db[poisoned].insert_many({"n": n} for n in range(10))
    deployment.db[other].insert_many({"n": n} for n in range(10))
    wait_until(
        lambda: len(deployment.oracle.messages()) == 10, timeout_s=10, what="the other collection"
    )
    server.stop()
    start_own_nats(server.data_dir, port=server.port, extra_config="max_payload: 8MB")
    connector.wait_ready(timeout_s=45)
    deployment.finish(21)
    assert len(connector.log("service.started")) == 1
