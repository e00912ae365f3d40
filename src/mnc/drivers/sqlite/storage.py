"""A member's disk: term, vote, log and snapshot in an SQLite database.

Theory of operation. The folder RAFT_LOG_PATH has a database `raft.db`, with its write-ahead log
`raft.db-wal` while it is open, and beside it `raft.mark` (`mark`). A save is one transaction and
one sync of the write-ahead log; only then the mark is moved. The database is locked for as long as
it is open, also against a process that is about to be killed and isn't yet.

What is found on opening and loading, and ends with an error instead of a second vote: a file that
isn't a database, damage anywhere in it (`rows`), and saves that are missing at its end, because the
write-ahead log was deleted or cut, or the database replaced by an older one (`mark`). A torn write
of a save that never returned is no damage: SQLite leaves it out.

What can't be found: that the whole folder, the mark included, is an older copy, or one of two; and
that a disk lost what it said it had synced when the power went, if it lost the mark as well, which
the kernel writes about half a minute late.
"""

from __future__ import annotations

import secrets
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Self

from mnc.cluster.messages import GroupId
from mnc.drivers.sqlite.failures import FAILURES, SETTING, damaged, failed, unusable
from mnc.drivers.sqlite.mark import Mark, sync_folder
from mnc.drivers.sqlite.rows import (
    State,
    entry_row,
    read_entry,
    read_snapshot,
    read_state,
    snapshot_row,
    state_row,
)
from mnc.errors import ClusterError
from mnc.raft import Entry, HardState, NodeId, Persisted, Ready, Snapshot

__all__ = ["SqliteStorage"]

_DATABASE = "raft.db"
_MARK = "raft.mark"

_FORMAT = 1
"""The version of the tables and of what is in them, in `PRAGMA user_version`."""

_LOCK_TIMEOUT_S = 2.0
"""How long a predecessor that was killed may take to end."""

_NODE_BYTES = 6
"""Random bytes of a node's name: two of a million disks share one with a chance of 1 in 500."""

_TABLES = (
    "CREATE TABLE state (id INTEGER PRIMARY KEY, content, checksum)",
    "CREATE TABLE snapshot (id INTEGER PRIMARY KEY, position, term, configuration, data, checksum)",
    "CREATE TABLE entry (position INTEGER PRIMARY KEY, term, payload, checksum)",
)


class SqliteStorage:
    """A `Storage` in a folder; see the module for what it finds and what it can't.

    Every method blocks, and may be called in any thread, one at a time.

    Invariants: `_trusted` is false from the beginning of each access to its success, so that after
    an error every call raises ClusterError.
    """

    def __init__(self, path: Path, database: sqlite3.Connection, mark: Mark, state: State) -> None:
        self._path = path
        self._database = database
        self._mark = mark
        self._state = state
        self._trusted = True

    @classmethod
    def open(cls, path: Path) -> Self:
        """Open the folder `path`; it is created, and becomes a new node's, when it isn't there.

        Raises ConfigError when it can't be used, or another process uses it; ClusterError when
        what is in it can't be trusted, or was written by a newer release.
        """
        try:
            _make_folder(path)
            with ExitStack() as opened:
                database = opened.enter_context(closing(_connect(path / _DATABASE)))
                state = _open_state(path, database)
                mark = opened.enter_context(closing(_open_mark(path, state)))
                _settle(database, mark, state)
                opened.pop_all()
        except FAILURES as error:
            raise unusable(path, error) from error
        return cls(path, database, mark, state)

    @property
    def node(self) -> NodeId:
        """See `Storage.node`."""
        return self._state.node

    @property
    def group(self) -> GroupId | None:
        """See `Storage.group`."""
        return self._state.group

    def load(self) -> Persisted:
        """See `Storage.load`."""
        with self._access():
            try:
                snapshot, entries = self._read_log()
            except ValueError as error:
                raise damaged(self._path, str(error)) from error
            return Persisted(
                hard_state=self._state.hard_state, snapshot=snapshot, entries=tuple(entries)
            )

    def enter(self, group: GroupId, persisted: Persisted) -> None:
        """See `Storage.enter`."""
        with self._transaction():
            checksum = self._replace_log(persisted.snapshot, persisted.entries)
            self._store_state(
                replace(
                    self._state,
                    group=group,
                    hard_state=persisted.hard_state,
                    log_checksum=checksum,
                )
            )

    def save(self, ready: Ready) -> None:
        """See `Storage.save`. The disk is left alone when there is nothing to be stored."""
        self._require_trust()
        if ready.hard_state is None and ready.snapshot is None and not ready.entries:
            return
        with self._transaction():
            checksum = self._state.log_checksum
            if ready.snapshot is not None:
                checksum = self._replace_log(ready.snapshot, ())
            if ready.entries:
                checksum = self._append(ready.entries)
            self._store_state(
                replace(
                    self._state,
                    hard_state=ready.hard_state or self._state.hard_state,
                    log_checksum=checksum,
                )
            )

    def compact(self, snapshot: Snapshot) -> None:
        """See `Storage.compact`."""
        entries = [entry for entry in self.load().entries if entry.index > snapshot.index]
        with self._transaction():
            checksum = self._replace_log(snapshot, entries)
            self._store_state(replace(self._state, log_checksum=checksum))

    def close(self) -> None:
        """Move the write-ahead log into the database, and unlock it; again is harmless."""
        self._trusted = False
        self._database.close()
        self._mark.close()

    def _require_trust(self) -> None:
        if not self._trusted:
            raise ClusterError(
                f"the Raft state in {self._path} is closed, or an access to it has failed before",
                remedy="start again",
            )

    @contextmanager
    def _access(self) -> Iterator[None]:
        """Translate errors, and trust nothing after one."""
        self._require_trust()
        self._trusted = False
        try:
            yield
        except FAILURES as error:
            raise failed(self._path, error) from error
        self._trusted = True

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        """Store what the body stores, all or nothing, and return when it is safe."""
        with self._access():
            self._mark.require_unchanged()
            self._database.execute("BEGIN IMMEDIATE")
            yield
            self._database.execute("COMMIT")
            self._mark.move(self._state.saves)  # AFTER the commit: it is never ahead

    def _store_state(self, state: State) -> None:
        """Store a state as that of one more save; the last statement of a transaction."""
        self._state = replace(state, saves=state.saves + 1)
        _write_state(self._database, self._state)

    def _replace_log(self, snapshot: Snapshot, entries: Iterable[Entry]) -> int:
        """Store a snapshot and entries in place of all; return the last checksum."""
        self._database.execute("DELETE FROM entry")
        return self._write_entries(entries, _write_snapshot(self._database, snapshot))

    def _append(self, entries: Sequence[Entry]) -> int:
        """Store entries in place of those from the first one's index on; return the checksum."""
        first_index = entries[0].index
        self._database.execute("DELETE FROM entry WHERE position >= ?", (first_index,))
        [(checksum,)] = self._database.execute(
            "SELECT checksum FROM entry WHERE position = ?1"
            " UNION ALL SELECT checksum FROM snapshot WHERE position = ?1",
            (first_index - 1,),
        )
        return self._write_entries(entries, checksum)

    def _write_entries(self, entries: Iterable[Entry], checksum: int) -> int:
        """Store entries that follow a row with this checksum; return the last one's."""
        rows = []
        for entry in entries:
            rows.append(entry_row(entry, checksum))
            checksum = rows[-1][-1]
        self._database.executemany("INSERT INTO entry VALUES (?, ?, ?, ?)", rows)
        return checksum

    def _read_log(self) -> tuple[Snapshot, list[Entry]]:
        """Return the snapshot and the entries. Raises ValueError when they are damaged."""
        row = self._database.execute(
            "SELECT position, term, configuration, data, checksum FROM snapshot"
        ).fetchone()
        snapshot, checksum = read_snapshot(row), row[-1]
        entries = []
        for row in self._database.execute("SELECT * FROM entry ORDER BY position"):
            entries.append(read_entry(row, checksum))
            checksum = row[-1]
        if checksum != self._state.log_checksum:
            raise ValueError("entries of the log are missing")
        return snapshot, entries


def _make_folder(path: Path) -> None:
    """Create a folder whose name survives a power cut."""
    missing = [folder for folder in (path, *path.parents) if not folder.exists()]
    path.mkdir(parents=True, exist_ok=True)
    for folder in missing:
        sync_folder(folder.parent)


def _connect(path: Path) -> sqlite3.Connection:
    """Open the database at `path` for this process alone, or create it, empty."""
    database = sqlite3.connect(
        path, timeout=_LOCK_TIMEOUT_S, isolation_level=None, check_same_thread=False
    )
    try:
        database.execute("PRAGMA locking_mode = EXCLUSIVE")  # BEFORE the first access: no -shm file
        database.execute("PRAGMA journal_mode = WAL")
        database.execute("PRAGMA synchronous = FULL")
        database.execute("PRAGMA fullfsync = ON")  # macOS needs it for a sync that is one
        database.execute("PRAGMA checkpoint_fullfsync = ON")
    except FAILURES:
        database.close()
        raise
    return database


def _open_state(path: Path, database: sqlite3.Connection) -> State:
    """Return the state of a database, after making it if the database is empty."""
    [(tables,)] = database.execute("SELECT count(*) FROM sqlite_master")
    [(version,)] = database.execute("PRAGMA user_version")
    if not tables and not version:
        return _create(path, database)
    if version != _FORMAT:
        raise ClusterError(
            f"the Raft state in {path} has format {version}; this release reads {_FORMAT}",
            remedy=f"run the release that wrote it, or name an empty folder in {SETTING}",
        )
    [(found,)] = database.execute("PRAGMA quick_check(1)")
    if found != "ok":
        raise damaged(path, found)
    row = database.execute("SELECT content, checksum FROM state").fetchone()
    try:
        return read_state(row)
    except ValueError as error:
        raise damaged(path, str(error)) from error


def _create(path: Path, database: sqlite3.Connection) -> State:
    """Make an empty database that of a new node."""
    if (path / _MARK).exists():
        raise damaged(path, f"{_DATABASE} is missing or empty, but {_MARK} is there")
    database.execute("BEGIN IMMEDIATE")
    for table in _TABLES:
        database.execute(table)
    state = State(
        node=NodeId(secrets.token_hex(_NODE_BYTES)),
        group=None,
        saves=0,
        hard_state=HardState(),
        log_checksum=_write_snapshot(database, Snapshot()),
    )
    _write_state(database, state)
    database.execute(f"PRAGMA user_version = {_FORMAT}")
    database.execute("COMMIT")
    return state


def _open_mark(path: Path, state: State) -> Mark:
    """Return the mark beside a database, which must not be ahead of it."""
    file = path / _MARK
    if state.saves == 0 and not file.exists():
        return Mark.create(file, state.node)  # AFTER the database, which isn't new with a mark
    try:
        mark = Mark(file, state.node)
    except (FileNotFoundError, ValueError) as error:
        raise damaged(path, str(error)) from error
    if mark.saves > state.saves:
        mark.close()
        raise damaged(path, f"of {mark.saves} saves the last {mark.saves - state.saves} are gone")
    return mark


def _settle(database: sqlite3.Connection, mark: Mark, state: State) -> None:
    """Make what was found safe from a power cut, because messages will rest on it.

    A process that was killed within a save leaves what it wrote in the kernel's memory alone, where
    its successor finds it. A checkpoint syncs the write-ahead log and then the database.
    """
    database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    mark.move(state.saves)
    mark.sync()


def _write_state(database: sqlite3.Connection, state: State) -> None:
    database.execute("INSERT OR REPLACE INTO state VALUES (1, ?, ?)", state_row(state))


def _write_snapshot(database: sqlite3.Connection, snapshot: Snapshot) -> int:
    """Store a snapshot in place of the last; return its checksum."""
    row = snapshot_row(snapshot)
    database.execute("INSERT OR REPLACE INTO snapshot VALUES (1, ?, ?, ?, ?, ?)", row)
    return row[-1]
