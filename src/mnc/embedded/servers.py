"""Real servers for `mnc up` and for the tests: a replica set of one mongod, and JetStream.

Everything here blocks: it is called before and after the event loop, from the main thread. Servers
listen on 127.0.0.1 only. A data folder serves one server at a time and can be started again on
any port; what the servers confirmed survives `kill` as well as `stop`.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from pymongo import MongoClient
from pymongo.errors import OperationFailure, PyMongoError

from mnc.embedded.binaries import find_mongod, find_nats_server
from mnc.embedded.process import ServerProcess, on_free_port

__all__ = [
    "MongodProcess",
    "NatsServerProcess",
    "find_mongod",
    "find_nats_server",
    "start_mongod",
    "start_nats_server",
]

_HOST = "127.0.0.1"
_NOT_YET_INITIALIZED = 94
_START_TIMEOUT_S = 60.0
"""For a folder that needs recovery on a slow disk; an empty one takes a second."""


class MongodProcess(ServerProcess):
    """A mongod that runs: the only member of its replica set, or a standalone."""

    def __init__(
        self, command: Sequence[str | Path], *, port: int, data_dir: Path, repl_set: str | None
    ) -> None:
        super().__init__("mongod", command, port=port, data_dir=data_dir)
        self.repl_set = repl_set

    @property
    def uri(self) -> str:
        """The connection string, without a database."""
        return self.database_uri("")

    def database_uri(self, database: str) -> str:
        """Return the connection string with `database` as its default database."""
        query = "directConnection=true" if self.repl_set is None else f"replicaSet={self.repl_set}"
        return f"mongodb://{_HOST}:{self.port}/{database}?{query}"


class NatsServerProcess(ServerProcess):
    """A nats-server that runs."""

    @property
    def url(self) -> str:
        """What a client connects to."""
        return f"nats://{_HOST}:{self.port}"


def start_mongod(
    data_dir: Path,
    *,
    port: int = 0,
    repl_set: str | None = "mnc",
    oplog_size_mb: int = 512,
    extra_args: Sequence[str] = (),
) -> MongodProcess:
    """Start a mongod on `data_dir` and return when it can be written to.

    `port` 0 takes a free one. The replica set is initiated on an empty folder, and told of its new
    address on one that had another port; `repl_set` None gives a standalone. `oplog_size_mb` counts
    only for an empty folder.

    Raises ServerNotFoundError and ServerFailedError.
    """
    if port == 0:
        return on_free_port(
            lambda free_port: start_mongod(
                data_dir,
                port=free_port,
                repl_set=repl_set,
                oplog_size_mb=oplog_size_mb,
                extra_args=extra_args,
            )
        )
    database_dir = data_dir / "db"
    database_dir.mkdir(parents=True, exist_ok=True)
    server = MongodProcess(
        [
            find_mongod(),
            *("--dbpath", database_dir, "--bind_ip", _HOST, "--port", str(port), "--nounixsocket"),
            # Small in memory and on the disk: the defaults are for a machine of its own.
            *("--wiredTigerCacheSizeGB", "0.25"),
            *("--wiredTigerEngineConfigString", "log=(prealloc=false,file_max=10MB)"),
            *("--setParameter", "diagnosticDataCollectionEnabled=false"),
            # A primary waits 15 s at SIGTERM for a successor, which a set of one doesn't have.
            *("--setParameter", "shutdownTimeoutMillisForSignaledShutdown=0"),
            *(() if repl_set is None else ("--replSet", repl_set)),
            *(() if repl_set is None else ("--oplogSize", str(oplog_size_mb))),
            *extra_args,
        ],
        port=port,
        data_dir=data_dir,
        repl_set=repl_set,
    )
    try:
        server.wait_until(
            lambda: server.has_said('"Waiting for connections"'), timeout_s=_START_TIMEOUT_S
        )
        with MongoClient[dict[str, Any]](_HOST, port, directConnection=True) as client:
            if repl_set is not None:
                _configure_replica_set(client, repl_set, f"{_HOST}:{port}")
            server.wait_until(partial(_is_writable, client), timeout_s=_START_TIMEOUT_S)
    except PyMongoError as error:
        server.kill()
        raise server.failure(f"mongod could not be made a replica set: {error}") from error
    except BaseException:
        server.kill()
        raise
    return server


def start_nats_server(
    data_dir: Path,
    *,
    port: int = 0,
    jetstream: bool = True,
    extra_config: str = "",
    program: Path | None = None,
) -> NatsServerProcess:
    """Start a nats-server on `data_dir` and return when clients can connect.

    `port` 0 takes a free one. `extra_config` is added to the server's configuration file. `program`
    None is what `find_nats_server` returns.

    Raises ServerNotFoundError and ServerFailedError.
    """
    if port == 0:
        return on_free_port(
            lambda free_port: start_nats_server(
                data_dir,
                port=free_port,
                jetstream=jetstream,
                extra_config=extra_config,
                program=program,
            )
        )
    data_dir.mkdir(parents=True, exist_ok=True)
    config_path = data_dir / "nats-server.conf"
    config_path.write_text(extra_config)
    server = NatsServerProcess(
        "nats-server",
        [
            program or find_nats_server(),
            *("--config", config_path, "--addr", _HOST, "--port", str(port)),
            *(("--jetstream", "--store_dir", data_dir) if jetstream else ()),
        ],
        port=port,
        data_dir=data_dir,
    )
    try:
        server.wait_until(lambda: server.has_said("Server is ready"), timeout_s=_START_TIMEOUT_S)
    except BaseException:
        server.kill()
        raise
    return server


def _configure_replica_set(client: MongoClient[dict[str, Any]], name: str, address: str) -> None:
    members = [{"_id": 0, "host": address}]
    try:
        config = client.admin.command("replSetGetConfig")["config"]
    except OperationFailure as error:
        if error.code != _NOT_YET_INITIALIZED:
            raise
        client.admin.command("replSetInitiate", {"_id": name, "members": members})
        return
    if config["members"][0]["host"] != address:
        # By force: a member that doesn't find itself in the configuration can't be elected.
        changed = {**config, "version": config["version"] + 1, "members": members}
        client.admin.command("replSetReconfig", changed, force=True)


def _is_writable(client: MongoClient[dict[str, Any]]) -> bool:
    try:
        return bool(client.admin.command("hello")["isWritablePrimary"])
    except PyMongoError:
        return False
