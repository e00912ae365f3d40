"""The allocator's set-up: memory that was freed goes back to the system."""

from __future__ import annotations

import subprocess
import sys

import pytest

_GROWN = """
import ctypes, sys
from pathlib import Path
from mnc.allocator import bound_allocator

if sys.argv[1] == "bounded":
    bound_allocator()

def resident_mb():
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096 // 1024**2

# Freed in this order, a large block makes glibc keep the next ones in its heap; the few that stay
# alive in between keep the heap from shrinking.
bytes(30 * 1024**2)
blocks = [bytes(100_000) for _ in range(1000)]
kept = blocks[::50]
del blocks
print(resident_mb())
"""


@pytest.mark.skipif(sys.platform != "linux", reason="glibc's allocator is Linux's")
def test_freed_payloads_go_back_to_the_system() -> None:
    """A hundred megabytes of payloads that were freed don't stay resident."""

    def resident_mb(how: str) -> int:
        command = [sys.executable, "-c", _GROWN, how]
        return int(subprocess.run(command, check=True, capture_output=True, text=True).stdout)

    assert resident_mb("bounded") < resident_mb("left alone") / 2
