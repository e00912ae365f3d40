"""Memory stays bounded while the broker is slow and then away, however much is waiting for it."""

from __future__ import annotations

import time
from dataclasses import dataclass

import pytest
from tests.connector import ConnectorProcess
from tests.deployment import Deploy, Deployment
from tests.injection.addresses import nats_url
from tests.injection.faults import Heal, Hold, Throttle
from tests.injection.thread import threaded
from tests.servers import StartMongod, StartNatsServer
from tests.soak import SOAK

MAX_RSS_BYTES = 200 * 1000 * 1000

BYTES_PER_S = 20_000_000
"""How slow the broker is: the connector alone would be several times as fast."""

SMALL, LARGE = "small", "large"

DOCUMENT = "x" * 100_000
DOCUMENTS_AT_ONCE = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """What is written, and how long it may take."""

    updates: int
    large_documents: int
    frozen_s: float
    timeout_s: float

    @property
    def events(self) -> int:
        """How many change events it causes: each updated document was inserted before."""
        return 2 * self.updates + self.large_documents


def write(deployment: Deployment, load: Load) -> None:
    """Insert small documents, update them all at once, and insert large ones."""
    small, large = deployment.db[SMALL], deployment.db[LARGE]
    small.insert_many({"n": 0} for _ in range(load.updates))
    assert small.update_many({}, {"$inc": {"n": 1}}).modified_count == load.updates
    for _ in range(load.large_documents // DOCUMENTS_AT_ONCE):
        large.insert_many({"text": DOCUMENT} for _ in range(DOCUMENTS_AT_ONCE))


def wait_drained(connector: ConnectorProcess, load: Load) -> None:
    """Wait until all events are stored, without asking so often that it slows the connector."""
    deadline = time.monotonic() + load.timeout_s
    while connector.counted("events_published") < load.events:
        assert time.monotonic() < deadline, "the events were not stored in time"
        connector.run_for(0.5)


@pytest.mark.parametrize(
    "load",
    [
        Load(updates=20_000, large_documents=1_500, frozen_s=3, timeout_s=120),
        pytest.param(
            Load(updates=200_000, large_documents=20_000, frozen_s=30, timeout_s=1200), marks=SOAK
        ),
    ],
    ids=["sample", "full"],
)
def test_memory_stays_bounded_while_the_broker_is_slow(
    deploy: Deploy, start_own_mongod: StartMongod, start_own_nats: StartNatsServer, load: Load
) -> None:
    """An `update_many` and gigabytes of documents drain through a slow link in under 200 MB.

    In between the link stands still, so that all that may wait does.
    """
    mongod, nats_server = start_own_mongod(oplog_size_mb=8192), start_own_nats()
    with threaded(nats_server.port) as link:
        deployment = deploy(
            mongod=mongod,
            nats_server=nats_server,
            collections=(SMALL, LARGE),
            NATS_SERVER_URL=nats_url(link.port),
        )
        connector = deployment.start_ready()
        link.inject(Throttle(bytes_per_s=BYTES_PER_S))
        write(deployment, load)
        link.inject(Hold())
        connector.run_for(load.frozen_s)
        link.inject(Heal())
        link.inject(Throttle(bytes_per_s=BYTES_PER_S))
        wait_drained(connector, load)
        peak = connector.peak_rss_bytes
        print(f"at most {peak / 1e6:.0f} MB")  # noqa: T201 - pytest shows it with a failure
        deployment.finish(load.events)
        assert peak < MAX_RSS_BYTES
