"""The paths of fields that a setting may give, and what is to become of those fields.

Each check raises ValueError with a problem that a user can act on.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Final, Literal, get_args

__all__ = ["Mask", "check_path", "check_paths_apart", "split_mask"]

Mask = Literal["hash", "redact"]
"""What a masked value is replaced by: its keyed hash, or a word."""

_MASKS: Final[dict[str, Mask]] = {mask: mask for mask in get_args(Mask)}


def check_path(path: str) -> str:
    """Return a field's path if it is one that may be left out or masked."""
    names = path.split(".")
    if not all(names):
        raise ValueError(f"{path!r} has an empty name in it")
    if any(name.startswith("$") for name in names):
        raise ValueError(f"{path!r} has a name in it that begins with $")
    if names[0] == "_id":
        raise ValueError("_id can't be hidden: subjects, keys and resume tokens have it")
    return path


def check_paths_apart(paths: Collection[str]) -> None:
    """Make sure that it is clear what becomes of each field: no path is another, or below it."""
    seen: set[str] = set()
    for path in sorted(paths, key=lambda path: path.split(".")):
        names = path.split(".")
        above = {".".join(names[:count]) for count in range(1, len(names) + 1)} & seen
        if above:
            raise ValueError(f"{path!r} is covered by {above.pop()!r} already")
        seen.add(path)


def split_mask(entry: str) -> tuple[str, Mask]:
    """Return the path and the mask of an entry, as in `email:hash`."""
    path, _, mask = entry.rpartition(":")
    if mask not in _MASKS:
        raise ValueError(f"{entry!r} doesn't end with :hash or :redact")
    return check_path(path), _MASKS[mask]
