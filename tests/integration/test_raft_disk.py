"""A member's disk that is damaged, full, or not to be written to: an error, never a second vote."""

from __future__ import annotations

import os
import random
import resource
import shutil
import sqlite3
import subprocess
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from itertools import islice
from pathlib import Path

import pytest
from tests.fakes.raft_values import entry, ready
from tests.injection.raft_saves import GROUP, make_saves, states
from tests.soak import SOAK

from mnc.cluster.ports import Storage
from mnc.drivers.sqlite.storage import SqliteStorage
from mnc.errors import ClusterError, ConfigError
from mnc.raft import Persisted

_SEED = 3
_SAVES = 30
_STATES = states(_SEED, _SAVES + 1)
_NOBODY = 65534
_FREE_PAGES_OFFSET = 36
"""Where the header of an SQLite database says how many of its pages are free."""


@pytest.fixture
def running(tmp_path: Path) -> Iterator[SqliteStorage]:
    """Give a storage that has saved `_SAVES` times and is open, so that all is in its -wal file."""
    storage = SqliteStorage.open(tmp_path / "running")
    for _ in islice(make_saves(storage, _SEED), _SAVES):
        pass
    yield storage
    storage.close()


@pytest.fixture
def folder(tmp_path: Path, running: SqliteStorage) -> Path:
    """Give what a process leaves that is killed after `_SAVES` saves."""
    assert running.load() == _STATES[_SAVES - 1]
    return shutil.copytree(tmp_path / "running", tmp_path / "killed")


@pytest.fixture
def closed(folder: Path) -> Path:
    """Give what a process leaves that ends after `_SAVES` saves."""
    SqliteStorage.open(folder).close()
    return folder


def _read(folder: Path) -> Persisted:
    """Open a folder and return what is stored there."""
    with closing(SqliteStorage.open(folder)) as storage:
        return storage.load()


def _assert_damaged(folder: Path, match: str) -> None:
    """Assert that a folder isn't trusted, today and tomorrow, and that it is said why."""
    for _ in range(2):
        with pytest.raises(ClusterError, match=match) as caught:
            _read(folder)
        assert "RAFT_LOG_PATH" in caught.value.remedy


def _size(file: Path) -> int:
    return file.stat().st_size


@pytest.mark.parametrize(
    ("files", "flips"),
    [
        (("raft.db",), 150),
        (("raft.db", "raft.db-wal"), 150),
        (("raft.mark",), 50),
        pytest.param(("raft.db",), 5000, marks=SOAK),
        pytest.param(("raft.db", "raft.db-wal"), 5000, marks=SOAK),
    ],
)
def test_a_flipped_byte_is_found_or_harmless(
    folder: Path, tmp_path: Path, files: tuple[str, ...], flips: int
) -> None:
    """With one byte changed, all is there as it was stored, or an error says that it isn't."""
    if "raft.db-wal" not in files:
        SqliteStorage.open(folder).close()
    rng = random.Random(flips)
    errors = 0
    for _ in range(flips):
        victim = shutil.copytree(folder, tmp_path / "victim", dirs_exist_ok=True)
        file = victim / rng.choice(files)
        offset, flipped = rng.randrange(_size(file)), rng.randrange(1, 256)
        print(f"{file.name}: {offset} ^ {flipped}")  # noqa: T201 - shown with a failure
        content = bytearray(file.read_bytes())
        content[offset] ^= flipped
        file.write_bytes(content)
        try:
            assert _read(victim) == _STATES[_SAVES - 1]
        except (ClusterError, ConfigError):
            errors += 1
    assert errors > flips / 10


def test_a_write_ahead_log_that_lost_its_end_is_found(folder: Path) -> None:
    """Of an acknowledged save no byte may be cut off, at whichever byte it is."""
    wal = folder / "raft.db-wal"
    content = wal.read_bytes()
    assert _read(shutil.copytree(folder, folder.with_name("whole"))) == _STATES[_SAVES - 1]
    for length in (0, 1, 32, 33, *range(100, len(content), len(content) // 50), len(content) - 1):
        victim = shutil.copytree(folder, folder.with_name("victim"), dirs_exist_ok=True)
        (victim / wal.name).write_bytes(content[:length])
        with pytest.raises(ClusterError, match=r"saves the last|is missing or empty"):
            _read(victim)


def test_a_torn_save_is_none(running: SqliteStorage, folder: Path, tmp_path: Path) -> None:
    """A save that never returned is there or not, wherever its writing has ended."""
    saves = make_saves(running, _SEED)  # once more: they enter the group anew
    for _ in islice(saves, _SAVES):
        pass
    before = shutil.copytree(tmp_path / "running", folder, dirs_exist_ok=True)
    next(saves)
    wal = (tmp_path / "running" / "raft.db-wal").read_bytes()
    start = _size(before / "raft.db-wal")
    found = set()
    for length in (*range(start, len(wal), 457), len(wal)):
        victim = shutil.copytree(before, tmp_path / "victim", dirs_exist_ok=True)
        (victim / "raft.db-wal").write_bytes(wal[:length])
        found.add(_STATES.index(_read(victim)))
    assert found == {_SAVES - 1, _SAVES}


def test_what_is_found_is_safe_before_it_is_trusted(folder: Path) -> None:
    """On opening all is moved to the database and synced, for the last save may not have been."""
    storage = SqliteStorage.open(folder)
    assert _size(folder / "raft.db-wal") == 0
    storage.close()


@pytest.mark.parametrize("killed", [False, True])
def test_a_deleted_file_is_found(folder: Path, killed: bool) -> None:
    """Neither the database nor the mark nor the write-ahead log can be missing unnoticed."""
    if not killed:
        SqliteStorage.open(folder).close()
    for file in sorted(folder.iterdir()):
        victim = shutil.copytree(folder, folder.with_name(f"without {file.name}"))
        (victim / file.name).unlink()
        _assert_damaged(victim, r"saves the last|is missing or empty|No such file.*raft\.mark")


def test_an_older_database_is_found(closed: Path, tmp_path: Path) -> None:
    """A database that was put back from a copy has forgotten votes."""
    older = shutil.copytree(closed, tmp_path / "older")
    storage = SqliteStorage.open(closed)
    storage.save(ready(vote=(1000, "a")))
    storage.close()
    shutil.copyfile(older / "raft.db", closed / "raft.db")
    _assert_damaged(closed, "the last 1 are gone")


def test_a_mark_of_another_node_is_found(closed: Path, tmp_path: Path) -> None:
    """Files of two folders don't make one."""
    SqliteStorage.open(tmp_path / "other").close()
    shutil.copyfile(tmp_path / "other" / "raft.mark", closed / "raft.mark")
    _assert_damaged(closed, "another node")


@pytest.mark.parametrize("content", [b"", b"x" * 4096, b"SQLite format 3\0" + bytes(4080)])
def test_what_is_no_database_is_refused(closed: Path, content: bytes) -> None:
    """A file with other content isn't overwritten."""
    (closed / "raft.db").write_bytes(content)
    _assert_damaged(closed, "can't be trusted")


def test_a_truncated_database_is_found(closed: Path) -> None:
    """A database that ends too early is damaged, wherever it ends."""
    content = (closed / "raft.db").read_bytes()
    for length in range(0, len(content), 1000):
        victim = shutil.copytree(closed, closed.with_name("victim"), dirs_exist_ok=True)
        (victim / "raft.db").write_bytes(content[:length])
        with pytest.raises(ClusterError):
            _read(victim)


@pytest.mark.parametrize(
    "statement",
    [
        "DELETE FROM entry WHERE position = (SELECT max(position) FROM entry)",
        "DELETE FROM entry WHERE position = (SELECT min(position) FROM entry)",
        "DELETE FROM snapshot",
        "DELETE FROM state",
        "UPDATE entry SET term = term - 1",
        "UPDATE entry SET payload = x'01'",
        "UPDATE snapshot SET data = NULL",
        "UPDATE state SET content = CAST(replace(content, '\"term\":', '\"term\":1') AS BLOB)",
        "DROP TABLE entry",
    ],
)
def test_a_row_that_was_not_stored_is_found(closed: Path, statement: str) -> None:
    """Rows that are missing or changed, as by a lost write of a page, make the state untrusted."""
    database = sqlite3.connect(closed / "raft.db")
    with database:
        assert database.execute(statement).rowcount != 0
    database.close()
    _assert_damaged(closed, "can't be trusted")


def test_damage_that_is_no_text_is_found(closed: Path) -> None:
    """An error of SQLite that quotes bytes which are no text is an error like the others."""
    content = (closed / "raft.db").read_bytes()
    (closed / "raft.db").write_bytes(
        content.replace(b"CREATE TABLE entry", b"CREATE TABLE\xffentry")
    )
    _assert_damaged(closed, "can't be trusted")


def test_damage_that_no_row_shows_is_found(closed: Path) -> None:
    """What SQLite keeps for itself is damaged too: the next save would rely on it."""
    with (closed / "raft.db").open("r+b") as file:
        file.seek(_FREE_PAGES_OFFSET)
        file.write(b"\0\0\0\7")
    _assert_damaged(closed, r"[Ff]reelist")


def test_a_newer_format_is_refused(closed: Path) -> None:
    """What a newer release has written isn't guessed at."""
    database = sqlite3.connect(closed / "raft.db")
    database.execute("PRAGMA user_version = 2")
    database.close()
    _assert_damaged(closed, "has format 2; this release reads 1")


def test_a_new_node_is_made_once(tmp_path: Path) -> None:
    """Each folder is another node."""
    nodes = set()
    for name in ("a", "b", "b"):
        storage = SqliteStorage.open(tmp_path / name)
        nodes.add(storage.node)
        storage.close()
    assert len(nodes) == 2


@pytest.mark.parametrize("left", ["", "raft.db", "raft.mark"])
def test_a_creation_that_was_interrupted_is_repeated(tmp_path: Path, left: str) -> None:
    """A process that is killed while it makes a folder leaves none that can't be opened."""
    SqliteStorage.open(tmp_path).close()
    (tmp_path / "raft.mark").rename(tmp_path / "raft.new")
    if left != "raft.db":
        (tmp_path / "raft.db").write_bytes(b"")
    if left != "raft.mark":
        (tmp_path / "raft.new").write_bytes(b"")
    assert _read(tmp_path) == Persisted()


def test_a_path_that_is_no_folder_is_refused(tmp_path: Path) -> None:
    """A file in the way is the setting's fault."""
    (tmp_path / "file").touch()
    for path in (tmp_path / "file", tmp_path / "file" / "state"):
        with pytest.raises(ConfigError) as caught:
            SqliteStorage.open(path)
        assert caught.value.setting == "RAFT_LOG_PATH"


@contextmanager
def _unprivileged() -> Iterator[None]:
    """Be a user whom permissions bind."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(_NOBODY)
    try:
        yield
    finally:
        os.seteuid(0)


@pytest.mark.parametrize("mode", [0o555, 0o000])
def test_missing_permissions_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mode: int
) -> None:
    """A folder that can't be made, or not be written to, is the setting's fault."""
    SqliteStorage.open(tmp_path / "old").close()
    (tmp_path / "old").chmod(mode)
    monkeypatch.chdir(tmp_path)  # an unprivileged user may not name it by its full path
    tmp_path.chmod(0o555)
    try:
        for name in ("new", "old"):
            with _unprivileged(), pytest.raises(ConfigError) as caught:
                SqliteStorage.open(Path(name))
            assert caught.value.setting == "RAFT_LOG_PATH"
    finally:
        tmp_path.chmod(0o755)
        (tmp_path / "old").chmod(0o755)
    SqliteStorage.open(tmp_path / "old").close()


def test_read_only_files_are_named(
    closed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Files that another user owns are the setting's fault."""
    for file in closed.iterdir():
        file.chmod(0o444)
    closed.chmod(0o777)
    monkeypatch.chdir(tmp_path)
    with _unprivileged(), pytest.raises(ConfigError):
        SqliteStorage.open(Path(closed.name))


def _fill(storage: Storage) -> Iterator[Persisted]:
    """Store entries until there is no room; return what is stored after each."""
    storage.enter(GROUP, Persisted())
    for index in range(1, 1000):
        storage.save(ready(entry(index, index, bytes(5000)), vote=(index, "a")))
        yield storage.load()


def _save_until_it_fails(storage: Storage, *, remedy: str) -> Persisted:
    """Return the last thing that was acknowledged before an error with this remedy."""
    acknowledged: list[Persisted] = []
    with pytest.raises(ClusterError) as caught:
        acknowledged.extend(_fill(storage))
    assert remedy in caught.value.remedy
    with pytest.raises(ClusterError):
        storage.save(ready())
    return acknowledged[-1]


def test_a_full_disk_stops_the_votes(tmp_path: Path) -> None:
    """On a full disk nothing half is stored, and with more room the node goes on."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(disk)]
    if shutil.which("mount") is None or subprocess.run(mount, check=False).returncode != 0:
        pytest.skip("only root may mount a small disk")
    try:
        with (disk / "filler").open("wb") as filler, suppress(OSError):
            filler.write(bytes(2**20))
        with pytest.raises(ClusterError) as caught:
            SqliteStorage.open(disk / "state")
        assert "make room" in caught.value.remedy
        (disk / "filler").unlink()
        with closing(SqliteStorage.open(disk / "state")) as storage:
            acknowledged = _save_until_it_fails(storage, remedy="make room")
        subprocess.run(["mount", "-o", "remount,size=1m", disk], check=True)
        assert _read(disk / "state") == acknowledged
    finally:
        subprocess.run(["umount", disk], check=True)


def test_a_file_that_may_not_grow_stops_the_votes(tmp_path: Path) -> None:
    """The same where a limit holds, as that of a process."""
    storage = SqliteStorage.open(tmp_path)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, hard))
    try:
        acknowledged = _save_until_it_fails(storage, remedy="the disk of RAFT_LOG_PATH")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    storage.close()
    assert _read(tmp_path) == acknowledged
