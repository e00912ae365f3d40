"""What goes wrong with a member's disk, and what a person can do about it."""

from __future__ import annotations

import errno
import sqlite3
from pathlib import Path
from typing import Final

from mnc.errors import ClusterError, ConfigError

__all__ = ["FAILURES", "SETTING", "Failure", "damaged", "failed", "unusable"]

SETTING: Final = "RAFT_LOG_PATH"

Failure = sqlite3.Error | OSError | UnicodeDecodeError

FAILURES: Final = (sqlite3.Error, OSError, UnicodeDecodeError)
"""What an access to the disk raises; the last one for a message of SQLite that quotes damage."""

_START_ANEW = (
    f"start this instance with an empty {SETTING}: it then joins its group as a new node. Never "
    "put an older copy in place: it has forgotten votes"
)

_NO_SPACE = frozenset({errno.ENOSPC, errno.EDQUOT})

_UNUSABLE = frozenset(
    {
        sqlite3.SQLITE_AUTH,
        sqlite3.SQLITE_CANTOPEN,
        sqlite3.SQLITE_PERM,
        sqlite3.SQLITE_READONLY,
    }
)
"""Results of SQLite that mean: the files can't be used so, whatever is in them."""

_DAMAGED = frozenset(
    {
        None,  # Python's own complaint about a value
        sqlite3.SQLITE_CORRUPT,
        sqlite3.SQLITE_ERROR,  # no such table, or a schema that can't be read
        sqlite3.SQLITE_NOTADB,
    }
)
"""Results that mean: this is not what was written."""


def damaged(path: Path, found: str) -> ClusterError:
    """Say that what is stored in the folder `path` can't be trusted."""
    return ClusterError(f"the Raft state in {path} can't be trusted: {found}", remedy=_START_ANEW)


def failed(path: Path, error: Failure) -> ClusterError:
    """Say that the Raft state in `path` couldn't be read or stored."""
    if not isinstance(error, OSError) and _result(error) in _DAMAGED:
        return damaged(path, str(error))
    message = f"the Raft state in {path} can't be read or stored: {error}"
    if _is_full(error):
        return ClusterError(message, remedy=f"make room on the disk of {SETTING}, and start again")
    return ClusterError(
        message, remedy=f"look after the disk of {SETTING}, and start again; or {_START_ANEW}"
    )


def unusable(path: Path, error: Failure) -> ConfigError | ClusterError:
    """Say why the folder `path` couldn't be opened."""
    if _result(error) == sqlite3.SQLITE_BUSY:
        return ConfigError(
            SETTING,
            f"another process has {path} open",
            remedy="give each instance a folder of its own",
        )
    if isinstance(error, OSError):
        refused = not _is_full(error) and error.errno != errno.EIO
    else:
        refused = _result(error) in _UNUSABLE
    if refused:
        return ConfigError(
            SETTING,
            f"can't use {path}: {error}",
            remedy="name a folder that this user may create and write to",
        )
    return failed(path, error)


def _is_full(error: Failure) -> bool:
    if isinstance(error, OSError):
        return error.errno in _NO_SPACE
    return _result(error) == sqlite3.SQLITE_FULL


def _result(error: Failure) -> int | None:
    """Return SQLite's result without its details; None if the error is Python's own."""
    code: int | None = getattr(error, "sqlite_errorcode", None)
    return None if code is None else code & 0xFF
