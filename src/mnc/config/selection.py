"""Which collections are watched: names, globs, and what is left out. Pure.

An entry without a dot is of the database that MONGO_URI names; what stands before the first dot of
another is its database. In a glob `*` stands for any characters and `?` for one. An entry that
begins with `!` leaves out what it matches, wherever it stands. One regular expression says what the
globs take, to Python and to MongoDB alike.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from mnc.config.names import check_collection, check_other_database
from mnc.model import Namespace, collection_key

__all__ = ["Selection", "Selections", "check_entry"]

_LEAVE_OUT = "!"
_WILDCARDS = {"*": ".*", "?": "."}

_END = "(?!.)"
"""The very end, where `$` would also match before a last line break, in Python and in PCRE."""

_NEVER = (
    r"(?:.*\.)?system\..*",
    r"enxcol_\..*",  # what queryable encryption keeps beside a collection
    # What $out, mapReduce and a rename between databases fill before they give it its name.
    r"tmp\.agg_out\..*",
    r"tmp\.mr\..*",
    r"tmp[A-Za-z0-9]{5}\.renameCollection",
)
"""MongoDB's own collections, which no glob takes."""


@dataclass(frozen=True, kw_only=True)
class Selection:
    """The collections of one database to watch.

    Invariants: no entry of `names` is left out; what `wants` says of a name never changes.
    """

    names: tuple[str, ...]
    """Watched whether they exist or not."""
    globs: tuple[str, ...] = ()
    left_out: tuple[str, ...] = ()
    """Names and globs, without the `!`."""
    reserved: tuple[str, ...] = ()
    """Collections of the connector's own, which no glob takes."""

    @classmethod
    def of(cls, entries: Iterable[str], *, reserved: Sequence[str] = ()) -> Selection:
        """Read entries without their database; their order doesn't matter."""
        entries = tuple(entries)
        left_out = tuple(entry[1:] for entry in entries if entry.startswith(_LEAVE_OUT))
        is_left_out = re.compile(_matching(map(_pattern, left_out)))
        wanted = [entry for entry in entries if not entry.startswith(_LEAVE_OUT)]
        names = (e for e in wanted if not _is_glob(e) and not is_left_out.match(e))
        return cls(
            names=tuple(dict.fromkeys(names)),
            globs=tuple(entry for entry in wanted if _is_glob(entry)),
            left_out=left_out,
            reserved=tuple(reserved),
        )

    @cached_property
    def pattern(self) -> str:
        """A regular expression that matches the names that the globs take, and no others.

        It is the same for Python's `match` and for PCRE, which MongoDB has.
        """
        never = (*_NEVER, *map(_pattern, (*self.left_out, *self.reserved)))
        return _matching(map(_pattern, self.globs), unless=never)

    def wants(self, name: str) -> bool:
        """Say whether the collection `name` is watched, once it exists."""
        return name in self.names or self._regex.match(name) is not None

    @cached_property
    def _regex(self) -> re.Pattern[str]:
        return re.compile(self.pattern)


@dataclass(frozen=True, kw_only=True)
class Selections:
    """The collections of all databases to watch, by their keys (`mnc.model.collection_key`).

    Invariants: each database has names or globs.
    """

    home: str
    """The database that MONGO_URI names."""
    databases: Mapping[str, Selection]

    @classmethod
    def of(cls, entries: Iterable[str], *, home: str, reserved: Sequence[str] = ()) -> Selections:
        """Read the entries of MONGO_WATCH_COLLECTIONS; their order doesn't matter.

        No glob takes a collection of any database that is called like one of `reserved`: where two
        connectors watch each other's database, each token written would be an event, for ever.
        Raises ValueError when nothing is left to watch.
        """
        entries_of = defaultdict[str, list[str]](list)
        for entry in entries:
            mark, database, pattern = _split(entry)
            entries_of[home if database is None else database].append(mark + pattern)
        selections = {
            database: Selection.of(own, reserved=reserved) for database, own in entries_of.items()
        }
        databases = {name: each for name, each in selections.items() if each.names or each.globs}
        if not databases:
            raise ValueError("nothing is left to watch")
        return cls(home=home, databases=databases)

    @cached_property
    def names(self) -> Sequence[str]:
        """The keys of what is watched whether it exists or not."""
        return tuple(
            collection_key(database, name, home=self.home)
            for database, selection in self.databases.items()
            for name in selection.names
        )

    def wants(self, key: str) -> bool:
        """Say whether the collection with `key` is watched, once it exists.

        A collection of `home` may have its database before its name in any case.
        """
        namespace = Namespace.of(key, home=self.home)
        selection = self.databases.get(namespace.database)
        return selection is not None and selection.wants(namespace.collection)


def check_entry(entry: str, *, home: str = "") -> str:
    """Return an entry of MONGO_WATCH_COLLECTIONS if it can match a collection's name.

    Raises ValueError if not.
    """
    mark, database, pattern = _split(entry)
    if database is not None:
        if _is_glob(database):
            raise ValueError(
                f"{entry!r} has a pattern for the database, which stands before the first dot; "
                "name each database"
            )
        if pattern.startswith(_LEAVE_OUT):
            raise ValueError(f"{entry!r} has its ! behind the database; put it first")
        check_other_database(database)
    # With the wildcards out of the way, a glob follows the rules of names.
    plain = pattern.translate(str.maketrans("*?", "xx"))
    try:
        check_collection(plain, database=home if database is None else database)
    except ValueError:
        if plain == pattern and not mark:
            raise
        problem = f"{entry!r} matches no name that a collection can have"
    else:
        return entry
    raise ValueError(problem)


def _split(entry: str) -> tuple[str, str | None, str]:
    """Return the mark of an entry that leaves out, its database if it has one, and the rest."""
    mark = _LEAVE_OUT if entry.startswith(_LEAVE_OUT) else ""
    database, dot, pattern = entry.removeprefix(_LEAVE_OUT).partition(".")
    return (mark, database, pattern) if dot else (mark, None, database)


def _is_glob(entry: str) -> bool:
    """Say whether an entry may match more than one name."""
    return any(wildcard in entry for wildcard in _WILDCARDS)


def _pattern(glob: str) -> str:
    return "".join(_WILDCARDS.get(character) or re.escape(character) for character in glob)


def _matching(patterns: Iterable[str], *, unless: Iterable[str] = ()) -> str:
    """Return an expression for whole names that match one of `patterns` and none of `unless`."""
    alternatives = "|".join(patterns) or _END + "."  # which nothing matches
    exceptions = "|".join(unless)
    return f"(?s)^{f'(?!(?:{exceptions}){_END})' if exceptions else ''}(?:{alternatives}){_END}"
