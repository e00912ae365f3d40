"""Fresh embedded servers for a bench, and connectors between them."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from pymongo import MongoClient
from pymongo.database import Database
from tests.connector import ConnectorProcess
from tests.jetstream import ask_jetstream

from bench.processes import CpuMeter
from mnc.embedded.servers import (
    MongodProcess,
    NatsServerProcess,
    start_mongod,
    start_nats_server,
)

__all__ = ["MNC_SERVE", "STREAM", "TOKENS", "Servers", "fresh_servers"]

STREAM = "bench"

TOKENS = "cs_resume_tokens"

MNC_SERVE = (sys.executable, "-m", "mnc", "serve")

_DATABASE = "bench"
_OPLOG_MB = 4096
"""What a bench writes, none of it may be forgotten before it is read."""


class Servers:
    """A mongod, a nats-server with a stream for mnc, and the connectors that were started."""

    def __init__(
        self, mongod: MongodProcess, nats_server: NatsServerProcess, *, folder: Path
    ) -> None:
        self.mongod = mongod
        self.nats_server = nats_server
        self.client = MongoClient[dict[str, Any]](mongod.uri)
        self.connectors: list[ConnectorProcess] = []
        """Those that were started, the oldest first."""
        self.folder = folder
        """What else they write; it is gone with them."""

    @property
    def database(self) -> Database[dict[str, Any]]:
        """The database that connectors watch."""
        return self.client[_DATABASE]

    @property
    def uri(self) -> str:
        """The connection string, with the database."""
        return self.mongod.database_uri(_DATABASE)

    def settings(self, collections: Sequence[str]) -> dict[str, str]:
        """Return the settings of a connector that watches these collections."""
        return {
            "MONGO_URI": self.uri,
            "MONGO_WATCH_COLLECTIONS": ",".join(collections),
            "NATS_SERVER_URL": self.nats_server.url,
            "NATS_STREAM_NAME": STREAM,
            "MONGO_RESUME_TOKENS_COLLECTION": TOKENS,
        }

    def start(
        self,
        collections: Sequence[str],
        *,
        command: Sequence[str] = MNC_SERVE,
        **settings: str,
    ) -> ConnectorProcess:
        """Start a connector; `settings` are its own, by their names."""
        connector = ConnectorProcess(
            {**self.settings(collections), **settings},
            log_path=self.folder / f"connector-{len(self.connectors)}.log",
            command=command,
        )
        self.connectors.append(connector)
        return connector

    def cpu_meter(self, connectors: Sequence[ConnectorProcess]) -> CpuMeter:
        """Count CPU from now on: that of these connectors together, and of each server."""
        return CpuMeter(
            {
                "connector": [connector.pid for connector in connectors],
                "mongod": [self.mongod.pid],
                "nats-server": [self.nats_server.pid],
            }
        )

    def create_stream(self, *, max_age_s: float = 0, max_bytes: int = -1) -> None:
        """Make the stream, for benches that would fill the disk; else the connector makes it."""
        ask_jetstream(
            self.nats_server.url,
            f"STREAM.CREATE.{STREAM}",
            {
                "name": STREAM,
                "subjects": [f"{STREAM}.*.*.*"],
                "discard": "new",
                "max_age": round(max_age_s * 1e9),
                "max_bytes": max_bytes,
            },
        )

    def restart_nats_server(self) -> None:
        """Start a nats-server that was stopped, on its port and with its data."""
        self.nats_server = start_nats_server(self.nats_server.data_dir, port=self.nats_server.port)

    def close(self) -> None:
        """End everything."""
        for connector in self.connectors:
            connector.kill()
        self.client.close()
        self.nats_server.kill()
        self.mongod.kill()


@contextmanager
def fresh_servers() -> Iterator[Servers]:
    """Give servers with empty folders, which are gone afterwards."""
    with ExitStack() as cleanup:
        folder = Path(cleanup.enter_context(tempfile.TemporaryDirectory(prefix="mnc-bench-")))
        mongod = start_mongod(folder / "mongod", oplog_size_mb=_OPLOG_MB)
        cleanup.callback(mongod.kill)
        nats_server = start_nats_server(folder / "nats")
        cleanup.callback(nats_server.kill)
        servers = Servers(mongod, nats_server, folder=folder)
        cleanup.callback(servers.close)
        yield servers
