"""Each mechanism that a guarantee rests on is missed by a test when it is taken out.

The tests run on a copy of the code in which one place has been changed.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

import mnc

ROOT = Path(__file__).parents[2]
TIMEOUT_S = 240


@dataclass(frozen=True, slots=True, kw_only=True)
class Mutant:
    """A change of the code, and the test that has to fail on it, saying `evidence`."""

    name: str
    module: str
    old: str
    new: str
    test: str
    evidence: str


FENCE = Mutant(
    name="no fence",
    module="drivers/nats/atomic.py",
    old="written_headers(fence.items()),",
    new='"",',
    test="test_two_connectors.py::test_stale_writers_cannot_append",
    evidence="duplicated",
)
MARKER = Mutant(
    name="marker not read again",
    module="publish/publisher.py",
    old="await self._read_marker())",
    new="self._reached)",
    test="test_broker.py::test_short_outages_mid_batch_leave_the_stream_exact",
    evidence="no batch was stored without an answer",
)
BUDGET = Mutant(
    name="no byte budget",
    module="capture/budget.py",
    old="return self._limit - self._used",
    new="return 2**40",
    test="test_memory.py::test_memory_stays_bounded_while_the_broker_is_slow",
    evidence="< 200000000",
)


def mutate(mutant: Mutant, source: Path) -> None:
    """Copy mnc to the folder `source`, with the change."""
    shutil.copytree(Path(mnc.__file__).parent, source / "mnc")
    module = source / "mnc" / mutant.module
    text = module.read_text()
    assert text.count(mutant.old) == 1, f"{mutant.module} has changed: adapt the mutant"
    module.write_text(text.replace(mutant.old, mutant.new))


@pytest.mark.parametrize("mutant", [FENCE, MARKER, BUDGET], ids=lambda mutant: mutant.name)
def test_suite_fails_without_the_mechanism(mutant: Mutant, tmp_path: Path) -> None:
    """A test of the suite fails, for the reason that is expected, when the mechanism is gone."""
    mutate(mutant, tmp_path / "src")
    environ = {name: value for name, value in os.environ.items() if "PYTEST" not in name}
    run = subprocess.run(
        [
            *(sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"),
            *("--basetemp", str(tmp_path / "pytest"), f"tests/faults/{mutant.test}"),
        ],
        env={**environ, "PYTHONPATH": str(tmp_path / "src")},
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
    )
    assert run.returncode == pytest.ExitCode.TESTS_FAILED, run.stdout
    assert mutant.evidence in run.stdout
