"""What a change event lacks of the documents that it was meant to hold. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Literal, NamedTuple

from mnc.capture.ports import ChangeDocument

__all__ = ["Lack", "lacks"]

_DOCUMENTS: Final = ("fullDocument", "fullDocumentBeforeChange")
_NOT_THERE: Final = ((), ())


class Lack(NamedTuple):
    """A field of a change event that isn't there as it should be."""

    field: str
    """Its name in the event."""
    reason: Literal["missing", "too_large"]
    """Missing: MongoDB had no such document any more, or kept no image of it."""


def lacks(change: ChangeDocument) -> Sequence[Lack]:
    """Name what `change` lacks.

    Where MongoDB found no document, it says null; what the driver had to leave out is listed in
    `truncated`.
    """
    if None not in map(change.get, _DOCUMENTS, _NOT_THERE) and "truncated" not in change:
        return ()  # nearly always, and without a list made
    missing = [Lack(field, "missing") for field in _DOCUMENTS if change.get(field, ()) is None]
    truncated = change.get("truncated")
    if not isinstance(truncated, list):
        return missing
    return [*missing, *(Lack(field, "too_large") for field in truncated)]
