"""The paths of fields that a setting may give, and what is to become of those fields.

Each check raises ValueError with a problem that a user can act on.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Final, Literal, get_args

__all__ = ["Mask", "check_hidden", "check_masks", "check_paths", "split_mask"]

Mask = Literal["hash", "redact"]
"""What a masked value is replaced by: its keyed hash, or a word."""

_MASKS: Final[dict[str, Mask]] = {mask: mask for mask in get_args(Mask)}


def check_paths(paths: tuple[str, ...]) -> tuple[str, ...]:
    """Return the paths of fields if they may all be left out."""
    _check_apart([_check_path(path) for path in paths])
    return paths


def check_masks(entries: tuple[str, ...]) -> tuple[str, ...]:
    """Return entries as in `email:hash` if each names a field that may be masked, and how."""
    for entry in entries:
        split_mask(entry)
    return entries


def check_hidden(excluded: Iterable[str], masks: Iterable[str], *, has_key: bool) -> None:
    """Make sure that it is clear what becomes of each field, and that a hash has its key."""
    split = [split_mask(entry) for entry in masks]
    _check_apart([*excluded, *(path for path, _ in split)])
    if any(mask == "hash" for _, mask in split) and not has_key:
        raise ValueError("hashing needs MONGO_MASK_KEY")


def _check_path(path: str) -> str:
    names = path.split(".")
    if not all(names):
        raise ValueError(f"{path!r} has an empty name in it")
    if any(name.startswith("$") for name in names):
        raise ValueError(f"{path!r} has a name in it that begins with $")
    if names[0] == "_id":
        raise ValueError("_id can't be hidden: subjects, keys and resume tokens have it")
    return path


def _check_apart(paths: Collection[str]) -> None:
    """Make sure that no path is another, or below it."""
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
    return _check_path(path), _MASKS[mask]
