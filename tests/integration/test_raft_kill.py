"""A member's disk when its process is killed, or another process comes to it."""

from __future__ import annotations

import random
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path

import pytest
from tests.fakes.raft_values import ready
from tests.injection.disk import slow_disk
from tests.injection.raft_saves import GROUP, command, states
from tests.soak import SOAK

from mnc.drivers.sqlite.storage import SqliteStorage
from mnc.errors import ClusterError, ConfigError
from mnc.raft import Persisted

_ROOT = Path(__file__).parents[2]
_ENDLESS = 10**9

Process = subprocess.Popen[str]
StartSaving = Callable[[Sequence[str]], Process]


@pytest.fixture
def start_saving() -> Iterator[StartSaving]:
    """Start processes that save; all are killed afterwards."""
    with ExitStack() as processes:

        def start(arguments: Sequence[str]) -> Process:
            process = processes.enter_context(
                subprocess.Popen(
                    [sys.executable, *arguments], cwd=_ROOT, stdout=subprocess.PIPE, text=True
                )
            )
            processes.callback(process.kill)
            return process

        yield start


def _next(process: Process) -> int:
    """Return the number of the next save that is acknowledged."""
    assert process.stdout is not None
    return int(process.stdout.readline())


def _kill(process: Process) -> list[int]:
    """Kill a process; return the numbers of the saves it still acknowledged."""
    process.kill()
    output, _ = process.communicate()
    return [int(line) for line in output.splitlines(keepends=True) if line.endswith("\n")]


@pytest.mark.parametrize(("seed", "rounds"), [(1, 5), pytest.param(2, 200, marks=SOAK)])
def test_what_was_acknowledged_survives_a_kill(
    start_saving: StartSaving, tmp_path: Path, seed: int, rounds: int
) -> None:
    """Whenever a process is killed, its successor finds the last save, or the unfinished one."""
    rng = random.Random(seed)
    node = None
    for number in range(1, rounds + 1):
        round_seed, last = rng.randrange(2**32), rng.randrange(1, 200)
        print(f"{number} of {rounds}: seed {round_seed}, after {last}")  # noqa: T201 - shown with a failure
        process = start_saving(command(tmp_path, seed=round_seed, count=_ENDLESS))
        while _next(process) < last:
            pass
        acknowledged = [last, *_kill(process)][-1]
        storage = SqliteStorage.open(tmp_path)
        assert storage.node == (node or storage.node)
        node = storage.node
        assert storage.load() in states(round_seed, acknowledged + 2)[acknowledged:]
        storage.close()


def test_one_process_at_a_time_uses_a_folder(start_saving: StartSaving, tmp_path: Path) -> None:
    """A second process is told who is at fault, and a killed one leaves no lock behind."""
    process = start_saving(command(tmp_path, seed=1, count=_ENDLESS))
    _next(process)
    with pytest.raises(ConfigError, match="another process") as caught:
        SqliteStorage.open(tmp_path)
    assert caught.value.setting == "RAFT_LOG_PATH"
    _next(process)
    _kill(process)
    SqliteStorage.open(tmp_path).close()


def test_a_lock_that_is_ignored_is_noticed(start_saving: StartSaving, tmp_path: Path) -> None:
    """Where locks don't hold, a process stops storing when another one has stored."""
    storage = SqliteStorage.open(tmp_path)
    storage.enter(GROUP, Persisted())
    (tmp_path / "raft.db").open().close()  # POSIX: the process loses all of its locks on the file
    process = start_saving(command(tmp_path, seed=1, count=2))
    assert process.wait() == 0
    with pytest.raises(ClusterError, match="another process"):
        storage.save(ready(vote=(1, "a")))
    with pytest.raises(ClusterError):
        storage.load()
    storage.close()


def _syncs(folder: Path, *, saves: int) -> int:
    """Count the syncs of a process that saves so often."""
    folder.mkdir()
    with slow_disk(folder, Path(sys.executable)) as disk:
        arguments = command(folder / "state", seed=1, count=saves)
        subprocess.run([disk.program, *arguments], cwd=_ROOT, stdout=subprocess.DEVNULL, check=True)
        disk.end()
    return disk.syncs


def test_each_save_is_synced_once(tmp_path: Path) -> None:
    """A save waits for the disk, which a power cut asks for, and for no more than one sync."""
    few, more = _syncs(tmp_path / "few", saves=1), _syncs(tmp_path / "more", saves=21)
    assert more - few == 20
