"""Servers are killed, frozen and started again by the faults of these names."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.injection.faults import Freeze, Heal, Kill, Start, Thaw
from tests.injection.processes import ServerTarget
from tests.waiting import wait_until

from mnc.embedded.process import ServerProcess


@pytest.fixture
def target(tmp_path: Path) -> Iterator[ServerTarget[ServerProcess]]:
    """Run a process that does nothing, and does it again."""

    def start(previous: ServerProcess | None = None) -> ServerProcess:
        assert previous is None or not previous.is_alive
        return ServerProcess("sleep", ["/bin/sleep", "60"], port=0, data_dir=tmp_path)

    target = ServerTarget(start(), start=start)
    yield target
    target.server.kill()


def state(server: ServerProcess) -> str:
    """Return the letter by which Linux says what a process does: T for a frozen one."""
    return Path(f"/proc/{server.pid}/stat").read_text().rpartition(")")[2].split()[0]


def test_killed_server_is_started_again(target: ServerTarget[ServerProcess]) -> None:
    """A kill is done when it returns, and the target then knows the successor."""
    first = target.server
    target.inject(Kill())
    assert not first.is_alive
    target.inject(Start())
    assert target.server is not first
    assert target.server.is_alive


@pytest.mark.skipif(sys.platform != "linux", reason="asks /proc for the process's state")
def test_frozen_server_goes_on(target: ServerTarget[ServerProcess]) -> None:
    """A frozen process stands still until it is thawed, and can be killed as it is."""
    target.inject(Freeze())
    wait_until(lambda: state(target.server) == "T", timeout_s=5, what="the process to stop")
    target.inject(Thaw())
    wait_until(lambda: state(target.server) != "T", timeout_s=5, what="the process to go on")
    target.inject(Freeze())
    target.inject(Kill())
    assert not target.server.is_alive


def test_faults_of_a_link_are_none_of_a_process(target: ServerTarget[ServerProcess]) -> None:
    """A fault in the wrong place is an error of the test."""
    with pytest.raises(TypeError, match="Heal"):
        target.inject(Heal())
