"""The names that a setting may give: databases, collections and streams.

Each check raises ValueError with a problem that a user can act on; the rules are MongoDB's
(Limits and Thresholds: naming restrictions) and the NATS server's (stream names).
"""

from __future__ import annotations

import re
from collections import Counter

__all__ = [
    "check_cluster",
    "check_collection",
    "check_database",
    "check_node_name",
    "check_other_database",
    "check_stream",
    "check_subject",
    "check_unique",
]

_DATABASE_FORBIDS = frozenset('/\\. "$\0')
_DATABASE_MAX_BYTES = 63
_NAMESPACE_MAX_BYTES = 255
_INTERNAL_DATABASES = frozenset({"admin", "config", "local"})

_STREAM_FORBIDS = frozenset(" .*>/\\")
_STREAM_MAX_BYTES = 255

_SUBJECT = re.compile(
    r"\{stream\}\.\{collection\}\.(\{operation\}|[\w-]{1,40})\.(\{id\}|[\w-]{1,40})", re.ASCII
)

_CLUSTER = re.compile(r"[A-Za-z0-9_-]{1,64}")
_NODE_NAME_MAX = 255


def check_database(name: str) -> str:
    """Return the database of a URI if change streams can be opened on it.

    Raises ValueError if not, without what may be a password.
    """
    if not name:
        raise ValueError("the URI names no database")
    if not _is_database(name):
        raise ValueError(
            "what stands after the host is not the name of a database; "
            "a user name or password needs its @ : / ? # [ ] % percent-encoded"
        )
    return check_other_database(name)


def check_other_database(name: str) -> str:
    """Return the name of any database if change streams can be opened on it.

    Raises ValueError if not.
    """
    if not _is_database(name):
        raise ValueError(f"{name!r} is not the name of a database")
    if name in _INTERNAL_DATABASES:
        raise ValueError(f"MongoDB opens no change stream on the database {name!r}")
    return name


def check_collection(name: str, *, database: str = "") -> str:
    """Return a collection's name if MongoDB accepts it in `database`; raise ValueError if not."""
    if not name:
        raise ValueError("the name of a collection is empty")
    if "*" in name or "?" in name:
        raise ValueError(f"{name!r} is a pattern; name each collection")
    if "$" in name or "\0" in name or name.startswith(".") or ".system." in f".{name}":
        raise ValueError(f"{name!r} is not the name of a collection that can be watched")
    if len(f"{database}.{name}".encode()) > _NAMESPACE_MAX_BYTES:
        raise ValueError(
            f"{name!r} and its database are longer than {_NAMESPACE_MAX_BYTES} bytes together"
        )
    return name


def check_stream(name: str) -> str:
    """Return a stream's name if it is also a legal first token of its subjects.

    Raises ValueError if not. Names that begin with `$` or `_` are refused because the subjects
    below them (`$JS`, `$SYS`, `_INBOX`) are NATS's own; those that begin with `OBJ_` because so
    are called the streams that object stores are, the one of a stream's large payloads too.
    """
    if name.startswith(("$", "_")):
        raise ValueError("subjects that begin with $ or _ are NATS's own")
    if name.startswith("OBJ_"):
        raise ValueError("streams that begin with OBJ_ are the object stores of NATS")
    if not name or not name.isprintable() or _STREAM_FORBIDS.intersection(name):
        raise ValueError("it is empty or has a character that a stream's name may not have")
    if len(name.encode()) > _STREAM_MAX_BYTES:
        raise ValueError(f"it is longer than {_STREAM_MAX_BYTES} bytes")
    return name


def check_subject(template: str) -> str:
    """Return the template of a subject if it gives one of four parts; raise ValueError if not.

    The first two parts stay as they are: the stream takes them, and positions are looked for there.
    """
    if not _SUBJECT.fullmatch(template):
        raise ValueError("it has other parts")
    return template


def check_cluster(name: str) -> str:
    """Return a cluster's name if it can be a token of NATS subjects; raise ValueError if not."""
    if not _CLUSTER.fullmatch(name):
        raise ValueError("it is empty, longer than 64 or has another character")
    return name


def check_node_name(name: str) -> str:
    """Return an instance's name if it can be shown in one line; raise ValueError if not."""
    if not name.isprintable() or len(name) > _NODE_NAME_MAX:
        raise ValueError("it is too long or has a character that can't be shown")
    return name


def check_unique(names: tuple[str, ...]) -> tuple[str, ...]:
    """Return the names if none stands twice; raise ValueError if one does."""
    name, count = Counter(names).most_common(1)[0]
    if count > 1:
        raise ValueError(f"{name!r} stands there {count} times")
    return names


def _is_database(name: str) -> bool:
    is_legal = bool(name) and not _DATABASE_FORBIDS.intersection(name)
    return is_legal and len(name.encode()) <= _DATABASE_MAX_BYTES
