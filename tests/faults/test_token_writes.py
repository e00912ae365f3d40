"""Token documents that can't be written cost nothing: the stream knows how far it is."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from tests.deployment import DUPLICATE_WINDOW_S, Deploy, Deployment
from tests.waiting import wait_until

OUT_OF_DISK_SPACE = 14031
"""A code that drivers don't take for a server that shuts down."""


@contextmanager
def failing_token_writes(deployment: Deployment) -> Iterator[None]:
    """Make MongoDB refuse the connector's writes, but nobody else's."""
    admin = deployment.client.admin
    admin.command(
        {
            "configureFailPoint": "failCommand",
            "mode": "alwaysOn",
            "data": {
                "failCommands": ["update", "findAndModify"],
                "errorCode": OUT_OF_DISK_SPACE,
                "appName": "mnc",
            },
        }
    )
    try:
        yield
    finally:
        admin.command({"configureFailPoint": "failCommand", "mode": "off"})


def tokens(deployment: Deployment) -> Sequence[object]:
    """Return the token of each collection's document."""
    documents = [deployment.token_document(name) for name in deployment.collections]
    return [document and document["token"] for document in documents]


def test_crash_after_failed_token_writes_repeats_nothing(deploy: Deploy) -> None:
    """Events go on while tokens can't be written, and a crash then neither repeats nor loses any.

    The stream's memory of message ids is over when the connector comes back, so that nothing but
    the position markers can say what is stored. Afterwards the tokens catch up.
    """
    deployment = deploy()
    connector = deployment.start_ready()
    with deployment.writer(seed=1) as writer:
        writer.wait_for_events(50)
        with failing_token_writes(deployment):
            connector.wait_for_log("checkpoint.failing")
            behind = tokens(deployment)
            published = connector.counted("events_published")
            wait_until(
                lambda: connector.counted("events_published") > published + 100,
                timeout_s=20,
                what="events to be published although tokens can't be written",
            )
            connector.kill()
            forgotten_at = time.monotonic() + 10 * DUPLICATE_WINDOW_S
            wait_until(
                lambda: time.monotonic() > forgotten_at,
                timeout_s=5,
                what="the stream to forget the message ids",
            )
            connector = deployment.start_ready()
            connector.wait_for_log("checkpoint.failing")
            assert tokens(deployment) == behind
        connector.wait_for_log("checkpoint.recovered")
    deployment.finish(writer.events)


def test_collection_is_not_watched_before_its_first_position_is_durable(deploy: Deploy) -> None:
    """A first token that can't be kept is waited for: "ready" means that nothing later is missed.

    Otherwise a crash before the first event would make "now" of a later start the first position.
    """
    deployment = deploy()
    with failing_token_writes(deployment):
        connector = deployment.start()
        connector.wait_not_ready("OutOfDiskSpace", timeout_s=20)
        assert not connector.log("capture.opened")
    connector.wait_ready()
    connector.kill()
    with deployment.writer(seed=1) as writer:
        writer.wait_for_events(50)
    deployment.start()
    deployment.finish(writer.events)
