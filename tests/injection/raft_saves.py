"""Saves of a member of the Raft group, drawn from a seed, and a process that makes them.

Usage: python -m tests.injection.raft_saves FOLDER SEED COUNT

The process prints the number of each save once it is stored, and ends after COUNT of them.
"""

from __future__ import annotations

import itertools
import random
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from tests.fakes.raft_storage import FakeDisk, FakeStorage
from tests.fakes.raft_values import entry, ready

from mnc.cluster.messages import GroupId
from mnc.cluster.ports import Storage
from mnc.drivers.sqlite.storage import SqliteStorage
from mnc.raft import NodeId, Persisted, Snapshot, bootstrap

__all__ = ["GROUP", "command", "make_saves", "states"]

GROUP = GroupId("group")
_VOTERS = tuple(map(NodeId, "abc"))


def make_saves(storage: Storage, seed: int) -> Iterator[None]:
    """Enter a group, and then store votes, entries and snapshots for ever; yield after each."""
    rng = random.Random(seed)
    founding = bootstrap(frozenset(_VOTERS))
    term = founding.hard_state.term
    snapshot_index = last_index = founding.snapshot.index
    storage.enter(GROUP, founding)
    while True:
        yield
        term += 1
        match rng.choices(("vote", "entries", "snapshot", "compact"), weights=(8, 8, 1, 2))[0]:
            case "vote":
                storage.save(ready(vote=(term, rng.choice((None, *_VOTERS)))))
            case "entries":
                first_index = rng.randint(snapshot_index + 1, last_index + 1)
                last_index = first_index + rng.randrange(4)
                entries = [
                    entry(index, term, rng.randbytes(rng.randrange(3000)))
                    for index in range(first_index, last_index + 1)
                ]
                storage.save(ready(*entries, vote=(term, None)))
            case "snapshot":
                snapshot_index = last_index = last_index + rng.randint(1, 5)
                snapshot = Snapshot(index=last_index, term=term, data=rng.randbytes(9000))
                storage.save(ready(snapshot=snapshot, vote=(term, None)))
            case _:
                snapshot_index = rng.randint(snapshot_index, last_index)
                storage.compact(Snapshot(index=snapshot_index, term=term, data=rng.randbytes(5000)))


def states(seed: int, count: int) -> Sequence[Persisted]:
    """Return what has to be stored after each of the first saves."""
    disk = FakeDisk(NodeId("model"))
    saves = make_saves(FakeStorage(disk), seed)
    return [disk.persisted for _ in itertools.islice(saves, count)]


def command(folder: Path, *, seed: int, count: int) -> Sequence[str]:
    """Return the process's command line, without the interpreter."""
    return ["-m", "tests.injection.raft_saves", str(folder), str(seed), str(count)]


def main() -> None:
    """Make the saves."""
    folder, seed, count = sys.argv[1:]
    storage = SqliteStorage.open(Path(folder))
    for number, _ in enumerate(itertools.islice(make_saves(storage, int(seed)), int(count))):
        print(number, flush=True)  # noqa: T201 - the parent reads it
    storage.close()


if __name__ == "__main__":
    main()
