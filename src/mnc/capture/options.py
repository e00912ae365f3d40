"""What a change stream is opened with, beside where it begins and which collections it reads."""

from __future__ import annotations

from dataclasses import dataclass

from mnc.config import NO_PIPELINE
from mnc.model import BeforeChange, FullDocument

__all__ = ["CaptureOptions"]


@dataclass(frozen=True, slots=True, kw_only=True)
class CaptureOptions:
    """What the events of a change stream hold.

    A change stream has one of these for all of its collections: those that differ need another.
    """

    database: str | None = None
    """Whose changes it shows; None is the database that MONGO_URI names."""
    full_document: FullDocument = "updateLookup"
    """Where the document of an update comes from, as earlier connectors had it."""
    before_change: BeforeChange = "off"
    """Whether events hold the document as it was before."""
    expanded_events: bool = False
    """Whether there are events of EXPANDED_OPERATIONS; all events have more fields then."""
    pipeline: str = NO_PIPELINE
    """What events go through on the server, as a setting's text: this has to be hashable."""
