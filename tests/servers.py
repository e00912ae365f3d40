"""Servers of a test's own: the types of the fixtures that start them, and how they ended."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol

from mnc.embedded.binaries import find_mongod
from mnc.embedded.process import ServerProcess, on_free_port
from mnc.embedded.servers import MongodProcess, NatsServerProcess

__all__ = [
    "DENYING",
    "FAIL_POINTS",
    "OLD_SERVERS",
    "OldNats",
    "StartMongod",
    "StartNatsServer",
    "has_ended",
    "login",
    "old_nats_server",
    "reload",
    "start_mongod_alone",
]

FAIL_POINTS = ("--setParameter", "enableTestCommands=1")
"""Lets mongod accept `configureFailPoint`."""

_RELOADED = "Reloaded server configuration"

_START_TIMEOUT_S = 60.0


OLD_SERVERS = ("2.10.26", "2.11.11")
"""Versions of nats-server without atomic batches; each has a lock of its own."""


DENYING = """
accounts: {
  A: {
    jetstream: enabled
    users: [
      {user: operator, password: operator}
      {user: mnc, password: mnc, permissions: {publish: {deny: ["$JS.API.STREAM.UPDATE.>"]}}}
    ]
  }
}
no_auth_user: operator
"""
"""Configures a server whose operator may do anything, but whose user mnc may not change streams."""


class StartMongod(Protocol):
    """Start a mongod with fail points; without `data_dir` in a new folder.

    For a restart pass the `data_dir` and `port` of the one before, after its `stop` or `kill`.
    """

    def __call__(
        self,
        data_dir: Path | None = None,
        *,
        port: int = 0,
        repl_set: str | None = "mnc",
        oplog_size_mb: int = 64,
        extra_args: Sequence[str] = (),
    ) -> MongodProcess:
        """Start one."""
        ...


class StartNatsServer(Protocol):
    """Start a nats-server; without `data_dir` in a new folder.

    For a restart pass the `data_dir` and `port` of the one before, after its `stop` or `kill`.
    """

    def __call__(
        self,
        data_dir: Path | None = None,
        *,
        port: int = 0,
        jetstream: bool = True,
        extra_config: str = "",
        version: str | None = None,
    ) -> NatsServerProcess:
        """Start one, of the newest version or of one of OLD_SERVERS."""
        ...


def start_mongod_alone(data_dir: Path, port: int, *args: str) -> ServerProcess:
    """Start a mongod as its arguments say, and leave its replica set as it is; 0 is a free port."""
    if port == 0:
        return on_free_port(lambda free: start_mongod_alone(data_dir, free, *args))
    database_dir = data_dir / "db"
    database_dir.mkdir(parents=True, exist_ok=True)
    server = ServerProcess(
        "mongod",
        [
            find_mongod(),
            *("--dbpath", database_dir, "--bind_ip", "127.0.0.1", "--port", str(port)),
            *("--nounixsocket", "--wiredTigerCacheSizeGB", "0.25"),
            *args,
        ],
        port=port,
        data_dir=data_dir,
    )
    server.wait_until(
        lambda: server.has_said('"Waiting for connections"'), timeout_s=_START_TIMEOUT_S
    )
    return server


def login(url: str, user: str) -> str:
    """Return `url` with a user of DENYING in it."""
    return url.replace("://", f"://{user}:{user}@")


def old_nats_server(version: str) -> Path:
    """Return the program of one of OLD_SERVERS, which `.scripts/venv dev` installs."""
    return Path(sys.prefix) / "servers" / version / "bin" / "nats-server"


OldNats = Callable[[str], NatsServerProcess]
"""Returns the session's server of one of OLD_SERVERS."""


def has_ended(pid: int) -> bool:
    """Say whether a process has ended; one that only waits to be reaped has. Linux only."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return True
    return state == "Z"


def reload(server: NatsServerProcess, config: str) -> None:
    """Let a server read another `extra_config`; return when it has."""

    def times() -> int:
        # All of it: who is refused makes the server say a lot.
        return server.log_path.read_text().count(_RELOADED)

    said = times()
    (server.data_dir / "nats-server.conf").write_text(config)
    os.kill(server.pid, signal.SIGHUP)
    server.wait_until(lambda: times() > said, timeout_s=15)
