"""A collection with a long backlog delays the events of the others by no more than a moment."""

from __future__ import annotations

import time

from tests.connector import ConnectorProcess
from tests.deployment import Deploy, Deployment
from tests.injection.addresses import nats_url
from tests.injection.faults import Heal, Throttle
from tests.injection.thread import threaded

from mnc.embedded.servers import NatsServerProcess

BUSY, QUIET = "busy", "quiet"

DOCUMENT = "x" * 100_000
DOCUMENTS = 1000
BYTES_PER_S = 4_000_000
"""The backlog takes 25 s at this pace."""

EVENTS = 4

MAX_DELAY_S = 8.0
"""A second of patience, and what the link holds of the backlog when an event is sent."""


def published(connector: ConnectorProcess, collection: str) -> int:
    """Return how many events of a collection are stored, by `/status`."""
    lanes = connector.get("/status").json()["collections"]
    (count,) = [
        lane["events_published"] for lane in lanes if lane["collection"].endswith(f".{collection}")
    ]
    return int(count)


def delay_of_an_event(deployment: Deployment, connector: ConnectorProcess, number: int) -> float:
    """Insert a document; return how long it takes until its event, the last one, is stored."""
    began_at = time.monotonic()
    deployment.db[QUIET].insert_one({"n": number})
    while published(connector, QUIET) <= number:
        connector.run_for(0.1)
        assert time.monotonic() < began_at + 60
    return time.monotonic() - began_at


def test_backlog_of_one_collection_does_not_delay_another(
    deploy: Deploy, nats_server: NatsServerProcess
) -> None:
    """While one collection's large documents go through a slow link, another's events overtake."""
    with threaded(nats_server.port) as link:
        deployment = deploy(
            collections=(BUSY, QUIET),
            NATS_SERVER_URL=nats_url(link.port),
            NATS_ACK_TIMEOUT_S="30",
        )
        connector = deployment.start_ready()
        link.inject(Throttle(bytes_per_s=BYTES_PER_S))
        deployment.db[BUSY].insert_many({"text": DOCUMENT} for _ in range(DOCUMENTS))
        delays_s = [delay_of_an_event(deployment, connector, number) for number in range(EVENTS)]
        print(delays_s)  # noqa: T201 - pytest shows it with a failure
        assert published(connector, BUSY) < DOCUMENTS, "there was no backlog any more"
        link.inject(Heal())
        deployment.finish(DOCUMENTS + EVENTS)
    assert max(delays_s) < MAX_DELAY_S
