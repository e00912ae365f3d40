"""`mnc serve` as a process of its own, which tests may kill, freeze and ask."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import httpx
from tests.waiting import wait_until

__all__ = ["ConnectorProcess", "sleep_in_turns"]

_INHERITED = ("PATH", "PYTHONPATH")
"""All that a connector gets of the test's own environment, which may hold settings."""

_START_TIMEOUT_S = 30.0
_HTTP_TIMEOUT_S = 5.0
_SETTINGS = {"RAFT_CLUSTER_SIZE": "1", "HTTP_HOST": "127.0.0.1", "HTTP_PORT": "0"}


class ConnectorProcess:
    """One run of `mnc serve`.

    Invariants: it never logs a traceback, which every way of ending it checks.
    """

    def __init__(
        self,
        settings: Mapping[str, str],
        *,
        log_path: Path,
        command: Sequence[str] = (sys.executable, "-m", "mnc", "serve"),
    ) -> None:
        environ = {name: os.environ[name] for name in _INHERITED if name in os.environ}
        self._log_path = log_path
        with log_path.open("wb") as log:
            self._popen = subprocess.Popen(
                command,
                env={**environ, **_SETTINGS, **settings},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
            )

    @property
    def pid(self) -> int:
        """The process's id, for those who measure it."""
        return self._popen.pid

    @property
    def is_alive(self) -> bool:
        """Whether the process runs; a frozen one does."""
        return self._popen.poll() is None

    # --- what it says ----------------------------------------------------------------------------

    def lines(self) -> Sequence[Mapping[str, Any]]:
        """Return its log lines so far, the oldest first."""
        lines = self.said().splitlines(keepends=True)
        # The last line may be half written, and an error for the terminal is no JSON.
        complete = [line for line in lines if line.startswith("{") and line.endswith("\n")]
        return [json.loads(line) for line in complete]

    def log(self, event: str) -> Sequence[Mapping[str, Any]]:
        """Return the log lines of one event so far, the oldest first."""
        return [line for line in self.lines() if line["event"] == event]

    def troubles(self) -> Sequence[Mapping[str, Any]]:
        """Return the warnings and errors that it has logged so far."""
        return [line for line in self.lines() if line["level"] in ("warning", "error")]

    def said(self) -> str:
        """Return all that it has said, log lines or not."""
        return self._log_path.read_text()

    def wait_for_log(
        self, event: str, *, timeout_s: float = _START_TIMEOUT_S
    ) -> Sequence[Mapping[str, Any]]:
        """Wait until `event` has been logged and return its lines."""

        def logged() -> Sequence[Mapping[str, Any]]:
            lines = self.log(event)
            assert lines or self.is_alive, f"the connector ended: {self.said()}"
            return lines

        return wait_until(logged, timeout_s=timeout_s, what=f"the log line {event}")

    def get(self, path: str) -> httpx.Response:
        """Ask the HTTP server, which has to be there."""
        port = self.wait_for_log("service.started")[0]["http_port"]
        return httpx.get(f"http://127.0.0.1:{port}{path}", timeout=_HTTP_TIMEOUT_S)

    def reasons(self) -> Sequence[str]:
        """Return why it isn't ready, by `/readyz`; nothing when it is."""
        answer = self.get("/readyz")
        reasons: Sequence[str] = answer.json()["reasons"]
        assert answer.status_code == (503 if reasons else 200)
        return reasons

    def wait_ready(self, *, timeout_s: float = _START_TIMEOUT_S) -> None:
        """Wait until `/readyz` answers 200."""
        wait_until(lambda: not self.reasons(), timeout_s=timeout_s, what="/readyz to answer 200")

    def wait_not_ready(self, reason: str, *, timeout_s: float) -> None:
        """Wait until `/readyz` answers 503 and one of its reasons has `reason` in it."""
        wait_until(
            lambda: any(reason in found for found in self.reasons()),
            timeout_s=timeout_s,
            what=f"/readyz to answer 503 because of {reason!r}",
        )

    def counted(self, count: str) -> int:
        """Return the sum of a count in `/status` over the collections."""
        return sum(lane[count] for lane in self.collections())

    def collections(self) -> Sequence[Mapping[str, Any]]:
        """Return what `/status` says of each collection."""
        found: Sequence[Mapping[str, Any]] = self.get("/status").json()["collections"]
        return found

    @property
    def peak_rss_bytes(self) -> int:
        """How much memory it has had at most so far; it has to be alive."""
        status = Path(f"/proc/{self._popen.pid}/status").read_text()
        (line,) = [line for line in status.splitlines() if line.startswith("VmHWM:")]
        return int(line.split()[1]) * 1024  # in kB, which are KiB

    # --- what is done to it ----------------------------------------------------------------------

    def wait_ended(self, *, timeout_s: float = _START_TIMEOUT_S) -> int:
        """Wait until it ends by itself, and return the exit code."""
        return self._popen.wait(timeout_s)

    def run_for(self, seconds: float) -> None:
        """Let it run for a while, in which it must not end."""
        try:
            code = self._popen.wait(seconds)
        except subprocess.TimeoutExpired:
            return
        raise AssertionError(f"it ended with {code}: {self.said()}")

    def kill(self) -> None:
        """End it at once, as a crash would. Idempotent."""
        self._popen.kill()
        self._popen.wait()
        self._check_log()

    def request_end(self) -> None:
        """Send SIGTERM, as Kubernetes does."""
        self._popen.terminate()

    def terminate(self, *, timeout_s: float = 30) -> int:
        """Send SIGTERM, wait for the end, and return the exit code."""
        self.request_end()
        code = self._popen.wait(timeout_s)
        self._check_log()
        return code

    def pause(self) -> None:
        """Freeze it."""
        self._popen.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Let it go on after `pause`."""
        self._popen.send_signal(signal.SIGCONT)

    def _check_log(self) -> None:
        text = self.said()
        assert "Traceback" not in text, text


def sleep_in_turns(
    connectors: tuple[ConnectorProcess, ConnectorProcess], *, rng: random.Random, times: int
) -> None:
    """Freeze one of two connectors after the other, while the other one goes on."""
    for nap in range(times):
        sleeper, other = connectors[nap % 2], connectors[1 - nap % 2]
        other.run_for(rng.uniform(0.1, 0.5))
        sleeper.pause()
        other.run_for(rng.uniform(0.2, 1.5))
        sleeper.resume()
