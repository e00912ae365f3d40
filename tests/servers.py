"""Servers of a test's own: the types of the fixtures that start them, and how they ended."""

from __future__ import annotations

import os
import signal
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from mnc.embedded.servers import MongodProcess, NatsServerProcess

__all__ = ["FAIL_POINTS", "StartMongod", "StartNatsServer", "has_ended", "reload"]

FAIL_POINTS = ("--setParameter", "enableTestCommands=1")
"""Lets mongod accept `configureFailPoint`."""

_RELOADED = "Reloaded server configuration"


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
    ) -> NatsServerProcess:
        """Start one."""
        ...


def has_ended(pid: int) -> bool:
    """Say whether a process has ended; one that only waits to be reaped has. Linux only."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return True
    return state == "Z"


def reload(server: NatsServerProcess, config: str) -> None:
    """Let a server read another `extra_config`; return when it has."""
    said = server.log_text().count(_RELOADED)
    (server.data_dir / "nats-server.conf").write_text(config)
    os.kill(server.pid, signal.SIGHUP)
    server.wait_until(lambda: server.log_text().count(_RELOADED) > said, timeout_s=5)
