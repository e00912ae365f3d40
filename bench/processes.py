"""What processes take: CPU, memory, threads and wake-ups, as Linux counts them."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from pathlib import Path

__all__ = ["CpuMeter", "cpu_s", "peak_rss_mb", "rss_mb", "threads", "wakeups"]

_TICKS_PER_S = os.sysconf("SC_CLK_TCK")


def cpu_s(pid: int) -> float:
    """Return the CPU time that a process has used, in seconds; exact to a hundredth or so."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS_PER_S


def rss_mb(pid: int) -> float:
    """Return the memory that a process has now, in MiB."""
    return _status(pid, "VmRSS") / 1024


def peak_rss_mb(pid: int) -> float:
    """Return the most memory that a process has had, in MiB."""
    return _status(pid, "VmHWM") / 1024


def threads(pid: int) -> int:
    """Return how many threads a process has."""
    return _status(pid, "Threads")


def wakeups(pid: int) -> int:
    """Return how often the threads that a process has now have waited for something."""
    return sum(
        int(_field(task.read_text(), "voluntary_ctxt_switches"))
        for task in Path(f"/proc/{pid}/task").glob("*/status")
    )


class CpuMeter:
    """Counts what groups of processes use from its making on; a name may have several processes."""

    def __init__(self, groups: Mapping[str, Iterable[int]]) -> None:
        self._groups = {name: tuple(pids) for name, pids in groups.items()}
        self._before = self._now()

    def spent_s(self) -> dict[str, float]:
        """Return the seconds of CPU that each group has used; all of them still run."""
        return {name: now - self._before[name] for name, now in self._now().items()}

    def _now(self) -> dict[str, float]:
        return {name: sum(map(cpu_s, pids)) for name, pids in self._groups.items()}


def _status(pid: int, name: str) -> int:
    return int(_field(Path(f"/proc/{pid}/status").read_text(), name))


def _field(status: str, name: str) -> str:
    found = re.search(rf"^{name}:\s+(\d+)", status, re.MULTILINE)
    assert found, name  # noqa: S101 - Linux has it of every process that runs
    return found[1]
