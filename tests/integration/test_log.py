"""The log of `mnc serve`: what a lane says has its collection, and no line has a document."""

from __future__ import annotations

from tests.deployment import Deploy
from tests.faults.test_token_writes import failing_token_writes

_DOCUMENT = "of-the-document"
_OVER_MAX_PAYLOAD = 1_100_000
_LANE = {"lane", "capture", "publish", "checkpoint"}


def test_no_document_and_no_token_is_logged(deploy: Deploy) -> None:
    """Neither a failure nor the level debug brings an id, a field, or a resume token into the log.

    Each line that is a collection's says which.
    """
    deployment = deploy(NATS_OVERSIZE="deadletter", LOG_LEVEL="debug", CHECKPOINT_INTERVAL_S="0.1")
    connector = deployment.start_ready()
    users = deployment.db["users"]
    with failing_token_writes(deployment):
        users.insert_one({"_id": f"id-{_DOCUMENT}", "field": _DOCUMENT})
        users.insert_one({"_id": f"large-{_DOCUMENT}", "large": "x" * _OVER_MAX_PAYLOAD})
        connector.wait_for_log("checkpoint.failing")
        connector.wait_for_log("publish.dead_lettered")
    connector.wait_for_log("checkpoint.recovered")
    deployment.finish(2, dead_letters=1)
    text = connector.said()
    assert _DOCUMENT not in text
    assert all(event.token not in text for event in deployment.oracle.committed())
    lines = [line for line in connector.lines() if line["event"].split(".")[0] in _LANE]
    expected = {f"{deployment.database}.{name}" for name in deployment.collections}
    assert {line["collection"] for line in lines} == expected
