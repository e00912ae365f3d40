"""Which collections are watched: names, globs, and what is left out. Pure.

In a glob `*` stands for any characters and `?` for one. An entry that begins with `!` leaves out
what it matches, wherever it stands. One regular expression says what the globs take, to Python and
to MongoDB alike.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

from mnc.config.names import check_collection

__all__ = ["Selection", "check_entry", "is_glob"]

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
        """Read the entries of MONGO_WATCH_COLLECTIONS; their order doesn't matter.

        Raises ValueError when they leave nothing to watch.
        """
        entries = tuple(entries)
        left_out = tuple(entry[1:] for entry in entries if entry.startswith(_LEAVE_OUT))
        is_left_out = re.compile(_matching(map(_pattern, left_out)))
        wanted = [entry for entry in entries if not entry.startswith(_LEAVE_OUT)]
        selection = cls(
            names=tuple(e for e in wanted if not is_glob(e) and not is_left_out.match(e)),
            globs=tuple(entry for entry in wanted if is_glob(entry)),
            left_out=left_out,
            reserved=tuple(reserved),
        )
        if not selection.names and not selection.globs:
            raise ValueError("nothing is left to watch")
        return selection

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


def is_glob(entry: str) -> bool:
    """Say whether an entry may match more than one name."""
    return any(wildcard in entry for wildcard in _WILDCARDS)


def check_entry(entry: str, *, database: str = "") -> str:
    """Return an entry of MONGO_WATCH_COLLECTIONS if it can match a collection's name.

    Raises ValueError if not.
    """
    # With the wildcards out of the way, a glob follows the rules of names.
    plain = entry.removeprefix(_LEAVE_OUT).translate(str.maketrans("*?", "xx"))
    try:
        check_collection(plain, database=database)
    except ValueError:
        if plain == entry:
            raise
        problem = f"{entry!r} matches no name that a collection can have"
    else:
        return entry
    raise ValueError(problem)


def _pattern(glob: str) -> str:
    return "".join(_WILDCARDS.get(character) or re.escape(character) for character in glob)


def _matching(patterns: Iterable[str], *, unless: Iterable[str] = ()) -> str:
    """Return an expression for whole names that match one of `patterns` and none of `unless`."""
    alternatives = "|".join(patterns) or _END + "."  # which nothing matches
    exceptions = "|".join(unless)
    return f"(?s)^{f'(?!(?:{exceptions}){_END})' if exceptions else ''}(?:{alternatives}){_END}"
