"""Events over the broker's limit go through: the message refers to the payload."""

from __future__ import annotations

from tests.deployment import Deploy
from tests.servers import StartNatsServer

MIB = 1024 * 1024
ALMOST_16_MIB = 16 * MIB - 4096


def test_event_of_up_to_16_mib_goes_through(
    deploy: Deploy, start_own_nats: StartNatsServer
) -> None:
    """An insert, a replacement and a deletion of a document that is as large as can be arrive."""
    server = start_own_nats()  # its max_payload is 1 MiB
    deployment = deploy(nats_server=server)
    connector = deployment.start_ready()
    collection = deployment.db[deployment.collections[0]]
    collection.insert_one({"_id": 1, "large": "x" * ALMOST_16_MIB})
    collection.replace_one({"_id": 1}, {"large": "y" * ALMOST_16_MIB})
    collection.delete_one({"_id": 1})
    deployment.finish(3)
    assert not connector.log("lane.failed")
