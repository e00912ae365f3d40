"""Summaries: what is left of an event whose payload has to be left out of its message."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from mnc.encode.payload import to_extended_json
from mnc.model import ResumeToken

__all__ = ["DATA_ERRORS", "SUMMARY_FROM_BYTES", "summarize"]

DATA_ERRORS: Final = (TypeError, ValueError, ArithmeticError, LookupError, RecursionError)
"""What encoding raises for data that it wasn't made for."""

SUMMARY_FROM_BYTES: Final = 4096
"""The size of payload from which on an event has a summary; a limit below it makes events wait."""

_FIELDS: Final = ("operationType", "clusterTime", "wallTime", "ns", "to", "documentKey")

_FIELD_LIMIT_BYTES: Final = 1024
"""A document's key may be megabytes; a larger one is left out."""


def summarize(change: Mapping[str, object], token: ResumeToken) -> bytes:
    """Return the fields of a change event that say what happened to which document.

    It is a payload like the event's own, of at most 6 KB; a field that is too large, or can't be
    encoded, is missing.
    """
    kept: dict[str, object] = {"_id": {"_data": token.data}}
    kept |= {name: change[name] for name in _FIELDS if name in change and _is_small(change[name])}
    return to_extended_json(kept)


def _is_small(value: object) -> bool:
    try:
        return len(to_extended_json({"": value})) <= _FIELD_LIMIT_BYTES
    except DATA_ERRORS:
        return False
