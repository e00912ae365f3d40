"""A server as a child process: started, waited for, stopped, and never left behind.

A child has a session of its own, so that Ctrl-C in the terminal reaches only mnc, which stops its
servers in order. On Linux the kernel kills a child when the *thread* that started it ends,
however that happens: start servers from the main thread.
"""

from __future__ import annotations

import os
import random
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

from mnc.errors import MncError

__all__ = ["ServerFailedError", "ServerProcess", "free_port", "is_port_taken", "on_free_port"]

_PORTS = range(20_000, 30_000)
"""Below the ports that Linux and macOS give to outgoing connections, so that a server can come
back on its port after a while, and below Kubernetes' node ports."""

_PORT_ATTEMPTS = 20
_POLL_INTERVAL_S = 0.01
_LOG_TAIL_BYTES = 16 * 1024
_LOG_EXCERPT_LINES = 5
_LOG_ERROR_MARKS = ('"s":"E"', '"s":"F"', "[ERR]", "[FTL]")
"""How mongod and nats-server mark errors and fatal errors."""

_Server = TypeVar("_Server", bound="ServerProcess")

_RUN_AS_CHILD = Path(__file__).with_name("_run_as_child.py")


class ServerFailedError(MncError):
    """A server ended by itself, or was not ready in time."""

    kind = "server_failed"

    def __init__(self, message: str, *, log_path: Path, log_text: str) -> None:
        lines = log_text.splitlines()
        # mongod says much more after its error, on its way out.
        errors = [line for line in lines if any(mark in line for mark in _LOG_ERROR_MARKS)]
        excerpt = "\n".join((errors or lines)[-_LOG_EXCERPT_LINES:])
        super().__init__(f"{message}, having said:\n{excerpt}\nThe whole log is {log_path}")
        self.log_path = log_path
        self.port_taken = "address already in use" in log_text.lower()
        """Whether another process listens on the server's port."""


class ServerProcess:
    """One server that runs as a child of this process.

    Invariants: once `stop` or `kill` has returned the process is gone and reaped; both may be
    called any number of times.
    """

    def __init__(
        self, name: str, command: Sequence[str | Path], *, port: int, data_dir: Path
    ) -> None:
        self.name = name
        self.port = port
        self.data_dir = data_dir
        self.log_path = data_dir / f"{name}.log"
        """Everything the server says; a restart in the same folder appends."""
        with self.log_path.open("ab") as log:
            self._log_start = log.tell()
            self._popen = subprocess.Popen(  # noqa: S603 - a program found by us, our own arguments
                [sys.executable, "-I", "-S", _RUN_AS_CHILD, str(os.getpid()), *command],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    @property
    def pid(self) -> int:
        """The process id of the server itself."""
        return self._popen.pid

    @property
    def is_alive(self) -> bool:
        """Whether the process runs; a frozen one does."""
        return self._popen.poll() is None

    def has_said(self, text: str) -> bool:
        """Say whether `text` stands in what the server has said since this start.

        All of it is read: clients that wait for a server make it say a lot as soon as it is ready.
        """
        with self.log_path.open("rb") as log:
            log.seek(self._log_start)
            return text.encode() in log.read()

    def log_text(self) -> str:
        """Return what the server has said since this start, at most its last 16 KiB."""
        with self.log_path.open("rb") as log:
            end = log.seek(0, os.SEEK_END)
            log.seek(max(self._log_start, end - _LOG_TAIL_BYTES))
            return log.read().decode(errors="replace")

    def wait_until(self, ready: Callable[[], bool], *, timeout_s: float) -> None:
        """Block until `ready()` is true.

        Raises ServerFailedError when the process ends before, or after `timeout_s` seconds; the
        process is gone then.
        """
        deadline = time.monotonic() + timeout_s
        while not ready():
            if not self.is_alive:
                code = self._popen.returncode
                raise self.failure(f"{self.name} ended at its start with exit code {code}")
            if time.monotonic() > deadline:
                self.kill()
                raise self.failure(f"{self.name} was not ready after {timeout_s:g} s")
            time.sleep(_POLL_INTERVAL_S)

    def stop(self, timeout_s: float = 10) -> None:
        """End the server in an orderly way; kill it after `timeout_s` seconds."""
        self._popen.terminate()
        try:
            self._popen.wait(timeout_s)
        except subprocess.TimeoutExpired:
            self.kill()

    def kill(self) -> None:
        """End the server at once, as a crash would."""
        self._popen.kill()
        self._popen.wait()

    def failure(self, message: str) -> ServerFailedError:
        """Return the error that says `message` and what the server said."""
        return ServerFailedError(message, log_path=self.log_path, log_text=self.log_text())


def is_port_taken(port: int) -> bool:
    """Say whether something listens on this port of 127.0.0.1."""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def on_free_port(start: Callable[[int], _Server]) -> _Server:
    """Call `start` with a port that was free a moment ago, and again if it was taken meanwhile.

    Raises what `start` raises, its ServerFailedError for a taken port only after many attempts.
    """
    for _ in range(_PORT_ATTEMPTS):
        try:
            return start(free_port())
        except ServerFailedError as error:
            if not error.port_taken:
                raise
    return start(free_port())


def free_port() -> int:
    """Return a port of 127.0.0.1 that nothing uses now; a server can come back on it."""
    while True:
        port = random.choice(_PORTS)  # noqa: S311 - spread, not secret
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
