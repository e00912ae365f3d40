"""Real servers for the tests: one of each for a session, and as many more as a test asks for.

The fixtures are synchronous, so that they may live longer than a test's event loop. Each worker of
`pytest -n` has servers of its own. Servers are killed at the end: their data is thrown away.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from functools import cache
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from hypothesis import HealthCheck, settings
from pymongo import MongoClient
from tests.servers import (
    FAIL_POINTS,
    OldNats,
    StartMongod,
    StartNatsServer,
    old_nats_server,
)
from tests.soak import SoakReport

from mnc.embedded.servers import (
    MongodProcess,
    NatsServerProcess,
    start_mongod,
    start_nats_server,
)

__all__: list[str] = []

# Generating is slow while the machine is busy with servers, and deadlines would measure that.
settings.register_profile("mnc", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("mnc")


def pytest_addoption(parser: pytest.Parser) -> None:
    """Let `.scripts/soak` ask for its report."""
    parser.addoption(
        "--soak-report", type=Path, help="print a line a fault, and write them to this file"
    )


def pytest_configure(config: pytest.Config) -> None:
    """Make the report in the process that hears of all tests, which is no worker of `-n`."""
    path = config.getoption("--soak-report")
    if path is not None and not hasattr(config, "workerinput"):
        config.pluginmanager.register(SoakReport(path))


@pytest.fixture(scope="session")
def mongod(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MongodProcess]:
    """Serve a replica set of one mongod that accepts fail points, for the whole session."""
    data_dir = tmp_path_factory.mktemp("mongod")
    server = start_mongod(data_dir, extra_args=FAIL_POINTS)
    try:
        yield server
    finally:
        server.kill()
        shutil.rmtree(data_dir)


@pytest.fixture(scope="session")
def nats_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NatsServerProcess]:
    """Serve JetStream for the whole session."""
    data_dir = tmp_path_factory.mktemp("nats-server")
    server = start_nats_server(data_dir)
    try:
        yield server
    finally:
        server.kill()
        shutil.rmtree(data_dir)


@pytest.fixture(scope="session")
def old_nats(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OldNats]:
    """Serve JetStream without atomic batches: each version that is asked for, from then on."""
    with ExitStack() as servers:

        @cache
        def serve(version: str) -> NatsServerProcess:
            data_dir = tmp_path_factory.mktemp(f"nats-server-{version}")
            servers.callback(shutil.rmtree, data_dir)
            server = start_nats_server(data_dir, program=old_nats_server(version))
            servers.callback(server.kill)
            return server

        yield serve


@pytest.fixture(scope="session")
def mongo_client(mongod: MongodProcess) -> Iterator[MongoClient[dict[str, Any]]]:
    """Connect to the session's mongod, for arranging and asserting."""
    with MongoClient[dict[str, Any]](mongod.uri) as client:
        yield client


@pytest.fixture
def database(mongo_client: MongoClient[dict[str, Any]]) -> Iterator[str]:
    """Name a database that no other test uses; it is dropped afterwards."""
    name = f"test_{uuid4().hex[:12]}"
    yield name
    mongo_client.drop_database(name)


@pytest.fixture
def stream_name() -> str:
    """Name a stream that no other test uses; who creates it deletes it."""
    return f"cs_{uuid4().hex[:12]}"


@pytest.fixture
def start_own_mongod(tmp_path: Path) -> Iterator[StartMongod]:
    """Start servers that a test may kill, freeze or fill; all are killed afterwards."""
    with ExitStack() as servers:

        def start(
            data_dir: Path | None = None,
            *,
            port: int = 0,
            repl_set: str | None = "mnc",
            oplog_size_mb: int = 64,
            extra_args: Sequence[str] = (),
        ) -> MongodProcess:
            server = start_mongod(
                data_dir or tmp_path / f"mongod-{uuid4().hex[:8]}",
                port=port,
                repl_set=repl_set,
                oplog_size_mb=oplog_size_mb,
                extra_args=(*FAIL_POINTS, *extra_args),
            )
            servers.callback(server.kill)
            return server

        yield start


@pytest.fixture
def start_own_nats(tmp_path: Path) -> Iterator[StartNatsServer]:
    """Start servers that a test may kill, freeze or fill; all are killed afterwards."""
    with ExitStack() as servers:

        def start(
            data_dir: Path | None = None,
            *,
            port: int = 0,
            jetstream: bool = True,
            extra_config: str = "",
            version: str | None = None,
        ) -> NatsServerProcess:
            server = start_nats_server(
                data_dir or tmp_path / f"nats-{uuid4().hex[:8]}",
                port=port,
                jetstream=jetstream,
                extra_config=extra_config,
                program=None if version is None else old_nats_server(version),
            )
            servers.callback(server.kill)
            return server

        yield start
