"""The oracle reads both sides for itself, and sees what is done to a stream by hand."""

from __future__ import annotations

import asyncio

import nats
from tests.deployment import Deploy, Deployment
from tests.jetstream import ask_jetstream


def publish(deployment: Deployment, subject: str, payload: bytes) -> None:
    """Put a message into the stream as a stranger would."""

    async def send() -> None:
        client = await nats.connect(deployment.nats_url)
        try:
            await client.jetstream().publish(subject, payload)
        finally:
            await client.close()

    asyncio.run(send())


def test_oracle_sees_a_stream_that_was_tampered_with(deploy: Deploy) -> None:
    """An event removed from a real stream is lost, and one published again is duplicated."""
    deployment = deploy()
    deployment.start_ready()
    for n in range(5):
        deployment.db["users"].insert_one({"_id": n})
    deployment.finish(5)
    first, *_, last = deployment.oracle.messages()
    ask_jetstream(
        deployment.nats_url, f"STREAM.MSG.DELETE.{deployment.stream}", {"seq": last.stream_seq}
    )
    publish(deployment, first.subject, first.payload)
    report = deployment.oracle.report()
    assert (report.lost, report.duplicated, report.misordered) == (1, 1, 0)
    publish(deployment, last.subject, last.payload)
    publish(
        deployment, f"{deployment.stream}.users.insert.1", last.payload.replace(b"82", b"83", 1)
    )
    report = deployment.oracle.report()
    assert (report.lost, report.duplicated, report.unexpected) == (0, 1, 1)
