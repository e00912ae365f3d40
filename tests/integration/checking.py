"""`mnc check` as a process of its own, and what it finds."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tests.guarded import SECRET

__all__ = ["Checked", "run_check"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Checked:
    """What one run of `mnc check` came to."""

    code: int
    stdout: str
    stderr: str

    def level(self, area: str, check: str) -> str:
        """Return the level of the only finding of a check."""
        return str(self._finding(area, check)["level"])

    def text(self, area: str, check: str) -> str:
        """Return what the only finding of a check says."""
        finding = self._finding(area, check)
        return f"{finding['found']}; {finding['remedy']}"

    def _finding(self, area: str, check: str) -> Mapping[str, Any]:
        findings = json.loads(self.stdout)["findings"]
        (found,) = [f for f in findings if (f["area"], f["check"]) == (area, check)]
        assert isinstance(found, dict)
        return found


def run_check(settings: Mapping[str, str], *args: str) -> Checked:
    """Run `mnc check` as a user does, and assert what holds for every run."""
    environ = {
        **{name: os.environ[name] for name in ("PATH", "PYTHONPATH") if name in os.environ},
        "RAFT_CLUSTER_SIZE": "1",
        "MONGO_WATCH_COLLECTIONS": "users",
        **settings,
    }
    done = subprocess.run(
        [sys.executable, "-m", "mnc", "check", *args],
        env=environ,
        capture_output=True,
        text=True,
        check=False,
    )
    assert "Traceback" not in done.stderr
    assert SECRET not in done.stdout + done.stderr
    return Checked(code=done.returncode, stdout=done.stdout, stderr=done.stderr)
