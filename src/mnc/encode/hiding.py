"""Hiding: fields of documents that are left out of events, or whose values are masked.

Theory of operation. The paths of the fields form a tree. A document is walked along it, through
arrays, and copied as far as it changes. An update's description names fields by paths, such as
`items.0.price`, which are walked along the same tree. Where it isn't clear whether a name is meant,
as with a number, which may be a field's name or an element's, it counts as both: to hide too much
is the cheaper mistake.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final, Self, assert_never

from mnc.encode.payload import to_extended_json
from mnc.encode.summary import DATA_ERRORS

__all__ = ["REDACTED", "Exclude", "Hash", "Hiding", "Redact", "Treatment"]

REDACTED: Final = "[redacted]"

_DOCUMENTS: Final = ("fullDocument", "fullDocumentBeforeChange", "documentKey")


@dataclass(frozen=True, slots=True)
class Exclude:
    """Leave the field out."""


@dataclass(frozen=True, slots=True)
class Redact:
    """Write a word instead of the value."""


@dataclass(frozen=True, slots=True)
class Hash:
    """Write the value's HMAC-SHA-256: equal values stay equal, and without the key none is known.

    Plain SHA-256 would not do: who can guess a value could check the guess.
    """

    key: bytes = field(repr=False)


Treatment = Exclude | Redact | Hash

_Tree = dict[str, "_Tree | Treatment"]


@dataclass(frozen=True, slots=True)
class Hiding:
    """What becomes of which fields.

    Invariants: no path is another one, or below it.
    """

    _tree: _Tree = field(default_factory=dict)

    @classmethod
    def of(cls, treatments: Mapping[str, Treatment]) -> Self:
        """Make one from treatments by path, such as `address.street`."""
        root: _Tree = {}
        for path, treatment in treatments.items():
            *above, last = path.split(".")
            node = root
            for name in above:
                below = node.setdefault(name, {})
                if not isinstance(below, dict):
                    raise ValueError(f"{path!r} is below another path")  # noqa: TRY004 - a value
                node = below
            if last in node:
                raise ValueError(f"{path!r} is above another path, or stands there twice")
            node[last] = treatment
        return cls(root)

    def apply(self, change: Mapping[str, object]) -> Mapping[str, object]:
        """Return a change event without what is hidden; `change` itself stays as it is."""
        if not self._tree:
            return change
        hidden = dict(change)
        for name in _DOCUMENTS:
            if name in hidden:
                hidden[name] = _value(hidden[name], self._tree)
        description = hidden.get("updateDescription")
        if isinstance(description, dict):
            hidden["updateDescription"] = self._description(description)
        return hidden

    def _description(self, description: Mapping[str, object]) -> Mapping[str, object]:
        hidden = dict(description)
        for name, value in description.items():
            match name, value:
                case "updatedFields", _:
                    hidden[name] = _value(value, self._tree)
                case "removedFields", list(paths):
                    hidden[name] = [path for path in paths if not self._excludes(path)]
                case "truncatedArrays", list(arrays):
                    hidden[name] = [each for each in arrays if not self._excludes(each["field"])]
                case "disambiguatedPaths", dict(parts):
                    hidden[name] = {
                        path: names for path, names in parts.items() if not self._excludes(path)
                    }
        return hidden

    def _excludes(self, path: str) -> bool:
        return isinstance(_follow(path.split("."), self._tree), Exclude)


def _value(value: object, tree: _Tree) -> object:
    """Return a value without what `tree` hides below it."""
    if isinstance(value, list):
        return [_value(item, tree) for item in value]
    if not isinstance(value, dict):
        return value
    hidden = {}
    for name, inner in value.items():
        match _follow(name.split("."), tree):
            case None:
                hidden[name] = inner
            case dict(below):
                hidden[name] = _value(inner, below)
            case Exclude():
                pass
            case Redact() | Hash() as mask:
                hidden[name] = _masked(inner, mask)
    return hidden


def _follow(names: Iterable[str], tree: _Tree) -> _Tree | Treatment | None:
    """Return what the tree says of a field, by its names from the top; None for nothing."""
    for name in names:
        below = tree.get(name, {})
        if isinstance(below, dict) and name.isdecimal():
            below = _merged(below, tree)  # an element's number has no place in a path
        if not isinstance(below, dict):
            return below
        tree = below
    return tree or None


def _merged(one: _Tree, other: _Tree) -> _Tree:
    """Return what either tree says; what hides a whole field goes before what hides a part."""
    merged = dict(one)
    for name, found in other.items():
        there = merged.get(name, {})
        if isinstance(there, dict):
            merged[name] = _merged(there, found) if isinstance(found, dict) else found
    return merged


def _masked(value: object, mask: Redact | Hash) -> object:
    """Mask a value; of an array each element, as an update may name one alone."""
    if isinstance(value, list):
        return [_masked(item, mask) for item in value]
    match mask:
        case Redact():
            return REDACTED
        case Hash(key=key):
            try:
                written = to_extended_json({"": value})
            except DATA_ERRORS:
                return REDACTED  # what can't be written can't be hashed, and must not be shown
            return f"hmac-sha256:{hmac.new(key, written, hashlib.sha256).hexdigest()}"
        case _:
            assert_never(mask)
