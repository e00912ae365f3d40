"""What every disk of a member of the Raft group does, fake or real."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.contract.raft_disks import FakeRaftDisk, RaftDisk, SqliteRaftDisk
from tests.fakes.raft_values import entry, ready

from mnc.cluster.messages import GroupId
from mnc.errors import ClusterError
from mnc.raft import Configuration, HardState, NodeId, NoOp, Persisted, Snapshot, bootstrap

_GROUP = GroupId("group")
_CONFIGURATION = Configuration(
    voters=frozenset(map(NodeId, "abc")), learners=frozenset({NodeId("d")})
)
_SNAPSHOT = Snapshot(index=2, term=1, configuration=_CONFIGURATION, data=b"\0data")
_STORED = Persisted(
    hard_state=HardState(term=3, vote=NodeId("a")),
    snapshot=_SNAPSHOT,
    entries=(
        entry(3, 2, NoOp()),
        entry(4, 2, _CONFIGURATION),
        entry(5, 3, b"\0"),
        entry(6, 3, b""),
    ),
)


@pytest.fixture(params=["fake", "real"])
def disk(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[RaftDisk]:
    """Give both disks in turn, empty."""
    if request.param == "fake":
        yield FakeRaftDisk()
        return
    disk = SqliteRaftDisk(tmp_path / "state" / "a")
    yield disk
    disk.close()


def test_a_new_disk_is_empty(disk: RaftDisk) -> None:
    """A node that was never started has a name, no group, and nothing to start from."""
    storage = disk.open()
    assert storage.node
    assert storage.group is None
    assert storage.load() == Persisted()


def test_the_node_belongs_to_the_disk(disk: RaftDisk) -> None:
    """A restart doesn't change who a node is, whatever it was doing."""
    node = disk.open().node
    assert disk.open().node == node
    disk.open().enter(_GROUP, _STORED)
    assert disk.open().node == node


def test_everything_of_a_group_survives(disk: RaftDisk) -> None:
    """Vote, snapshot and entries of every kind come back as they were, after a restart too."""
    storage = disk.open()
    storage.enter(_GROUP, _STORED)
    assert (storage.group, storage.load()) == (_GROUP, _STORED)
    storage = disk.open()
    assert (storage.group, storage.load()) == (_GROUP, _STORED)


def test_entering_forgets_the_earlier_group(disk: RaftDisk) -> None:
    """Of an earlier group neither vote nor entries are left."""
    disk.open().enter(_GROUP, _STORED)
    other = bootstrap(frozenset(map(NodeId, "ab")))
    disk.open().enter(GroupId("other"), other)
    storage = disk.open()
    assert (storage.group, storage.load()) == ("other", other)


def test_a_vote_survives(disk: RaftDisk) -> None:
    """Term and vote are replaced together, and a term without a vote has none."""
    storage = disk.open()
    storage.enter(_GROUP, _STORED)
    storage.save(ready(vote=(4, "b")))
    assert disk.open().load().hard_state == HardState(term=4, vote=NodeId("b"))
    disk.open().save(ready(vote=(5, None)))
    stored = disk.open().load()
    assert stored.hard_state == HardState(term=5, vote=None)
    assert (stored.snapshot, stored.entries) == (_STORED.snapshot, _STORED.entries)


def test_entries_replace_those_from_the_first_on(disk: RaftDisk) -> None:
    """Stored entries of another leader are gone, also those behind the new ones."""
    storage = disk.open()
    storage.enter(_GROUP, _STORED)
    storage.save(ready(entry(7, 3), entry(8, 3)))
    assert storage.load().entries == (*_STORED.entries, entry(7, 3), entry(8, 3))
    storage.save(ready(entry(5, 4), vote=(4, None)))
    assert disk.open().load().entries == (*_STORED.entries[:2], entry(5, 4))
    disk.open().save(ready(entry(3, 5)))
    stored = disk.open().load()
    assert stored.entries == (entry(3, 5),)
    assert stored.hard_state.term == 4


def test_a_leaders_snapshot_replaces_all_entries(disk: RaftDisk) -> None:
    """A snapshot from the leader leaves no entry, except those that come with it."""
    snapshot = Snapshot(index=5, term=4, configuration=_CONFIGURATION, data=b"newer")
    disk.open().enter(_GROUP, _STORED)
    disk.open().save(ready(snapshot=snapshot))
    stored = disk.open().load()
    assert (stored.snapshot, stored.entries) == (snapshot, ())
    assert stored.hard_state == _STORED.hard_state
    newest = Snapshot(index=9, term=4, configuration=_CONFIGURATION)
    disk.open().save(ready(entry(10, 4), snapshot=newest))
    stored = disk.open().load()
    assert (stored.snapshot, stored.entries) == (newest, (entry(10, 4),))


def test_compacting_keeps_the_entries_after_the_snapshot(disk: RaftDisk) -> None:
    """An own snapshot takes the place of the entries up to it, and the log goes on behind it."""
    snapshot = Snapshot(index=4, term=2, configuration=_CONFIGURATION, data=b"own")
    storage = disk.open()
    storage.enter(_GROUP, _STORED)
    storage.compact(snapshot)
    storage.save(ready(entry(6, 4)))
    stored = disk.open().load()
    assert (stored.snapshot, stored.entries) == (snapshot, (_STORED.entries[2], entry(6, 4)))
    last = Snapshot(index=6, term=4, configuration=_CONFIGURATION)
    storage = disk.open()
    storage.compact(last)
    storage.save(ready(entry(7, 4)))
    stored = disk.open().load()
    assert (stored.snapshot, stored.entries) == (last, (entry(7, 4),))
    assert stored.hard_state == _STORED.hard_state


def test_nothing_to_store_leaves_the_disk_alone(disk: RaftDisk) -> None:
    """Messages and committed entries cost no write."""
    storage = disk.open()
    storage.enter(_GROUP, _STORED)
    before = disk.writes()
    storage.save(ready(committed=_STORED.entries))
    assert disk.writes() == before


def test_nothing_is_stored_after_an_error(disk: RaftDisk) -> None:
    """A write that failed stores no part of it, and its process can't go on to vote."""
    storage = disk.open()
    storage.enter(_GROUP, _STORED)
    disk.fail()
    large = [entry(index, 4, bytes(10_000)) for index in range(7, 17)]
    with pytest.raises(ClusterError) as caught:
        storage.save(ready(*large, vote=(4, "c")))
    assert caught.value.remedy
    for use in (
        storage.load,
        lambda: storage.save(ready(vote=(5, "c"))),
        lambda: storage.save(ready()),
        lambda: storage.compact(_SNAPSHOT),
        lambda: storage.enter(_GROUP, _STORED),
    ):
        with pytest.raises(ClusterError):
            use()
    assert disk.open().load() == _STORED
