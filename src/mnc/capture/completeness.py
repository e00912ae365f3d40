"""What a change event lacks of the documents that it was meant to hold. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, Literal, NamedTuple

from mnc.capture.ports import ChangeDocument

__all__ = ["Lack", "lacks"]

_DOCUMENTS: Final = ("fullDocument", "fullDocumentBeforeChange")


class Lack(NamedTuple):
    """A field of a change event that isn't there as it should be."""

    field: str
    """Its name in the event."""
    reason: Literal["missing", "too_large"]
    """Missing: MongoDB had no such document any more, or kept no image of it."""


def lacks(change: ChangeDocument) -> Iterator[Lack]:
    """Name what `change` lacks.

    Where MongoDB found no document, it says null; what the driver had to leave out is listed in
    `truncated`.
    """
    for field in _DOCUMENTS:
        if field in change and change[field] is None:
            yield Lack(field, "missing")
    truncated = change.get("truncated")
    if isinstance(truncated, list):
        for field in truncated:
            yield Lack(field, "too_large")
