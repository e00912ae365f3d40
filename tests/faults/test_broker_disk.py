"""A broker whose disk is slow, or hangs, delays events, and nothing else."""

from __future__ import annotations

import os
import random
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.deployment import Deploy
from tests.injection.disk import SlowDisk, slow_disk
from tests.servers import StartNatsServer
from tests.soak import SOAK

from mnc.embedded.servers import find_nats_server

STALL_S = 5
"""After how long without publishing the connector says that it isn't ready."""

FOREVER_S = 3600.0

# Each write waits for the disk, and does not only fill its cache.
SYNCED = "jetstream { sync_interval: always }"


@pytest.fixture
def disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[SlowDisk]:
    """Give the brokers of a test a disk that the test slows down."""
    folder = tmp_path / "disk"
    folder.mkdir()
    with slow_disk(folder, find_nats_server()) as disk:
        monkeypatch.setenv("PATH", f"{disk.program.parent}{os.pathsep}{os.environ['PATH']}")
        yield disk


@pytest.mark.parametrize(("seed", "rounds"), [(1, 3), pytest.param(2, 20, marks=SOAK)])
def test_slow_disk_leaves_the_stream_exact(
    deploy: Deploy, disk: SlowDisk, start_own_nats: StartNatsServer, seed: int, rounds: int
) -> None:
    """Acknowledgements that come late, or too late to be waited for, double nothing."""
    rng = random.Random(seed)
    deployment = deploy(nats_server=start_own_nats(extra_config=SYNCED), NATS_ACK_TIMEOUT_S="1")
    connector = deployment.start_ready()
    with deployment.writer(seed=seed) as writer:
        for number in range(1, rounds + 1):
            delay_s = rng.choice((0.01, 0.1, 0.7, 2.0))
            print(f"{number} of {rounds}: {delay_s:g} s a write")  # noqa: T201 - shown with a failure
            disk.set_delay(delay_s)
            connector.run_for(rng.uniform(1, 6))
            disk.set_delay(0)
            connector.wait_ready(timeout_s=40)
            writer.wait_for_events(rng.randrange(20, 200))
    deployment.finish(writer.events)
    assert disk.writes > 0
    assert len(connector.log("service.started")) == 1


@pytest.mark.parametrize(("seed", "rounds"), [(1, 1), pytest.param(2, 20, marks=SOAK)])
def test_hanging_disk_is_reported_and_waited_for(
    deploy: Deploy, disk: SlowDisk, start_own_nats: StartNatsServer, seed: int, rounds: int
) -> None:
    """Without a restart the connector says that it can't publish, and goes on with the disk."""
    rng = random.Random(seed)
    deployment = deploy(nats_server=start_own_nats(extra_config=SYNCED), NATS_ACK_TIMEOUT_S="1")
    connector = deployment.start_ready()
    with deployment.writer(seed=seed) as writer:
        for number in range(1, rounds + 1):
            writer.wait_for_events(rng.randrange(20, 200))
            print(f"{number} of {rounds}: no write ends")  # noqa: T201 - shown with a failure
            disk.set_delay(FOREVER_S)
            connector.wait_not_ready("has not been able to publish", timeout_s=STALL_S + 10)
            connector.run_for(rng.uniform(0, 10))
            disk.set_delay(0)
            connector.wait_ready(timeout_s=40)
    deployment.finish(writer.events)
    assert len(connector.log("service.started")) == 1
