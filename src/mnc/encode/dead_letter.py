"""Dead letters: an event that can't be published where it belongs, with the reason in its headers.

They stand in the same stream, in the event's place, so that nothing is lost and the order stays.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from mnc.encode.event import Encoder, EventUnencodableError
from mnc.encode.subject import dead_letter_subject
from mnc.errors import MncError
from mnc.model import EncodedEvent, ResumeToken

__all__ = [
    "CAUSE_HEADER",
    "ERROR_HEADER",
    "SUBJECT_HEADER",
    "DeadLetteringEncoder",
    "dead_letter",
]

CAUSE_HEADER: Final = "Mnc-Dead-Letter"
"""The error's kind, as in metrics."""
ERROR_HEADER: Final = "Mnc-Error"
"""What is wrong, in words."""
SUBJECT_HEADER: Final = "Mnc-Subject"
"""The subject that the event would have had."""

_ERROR_LIMIT_CHARS = 500


def dead_letter(event: EncodedEvent, error: MncError) -> EncodedEvent:
    """Return `event` on the subject for dead letters, because of `error`."""
    words = " ".join(error.message.encode("ascii", "replace").decode().split())
    headers = (
        (CAUSE_HEADER, error.kind),
        (ERROR_HEADER, words[:_ERROR_LIMIT_CHARS]),
        (SUBJECT_HEADER, event.subject),
    )
    return event._replace(
        subject=dead_letter_subject(event.subject),
        headers=(*event.headers, *headers),
        dead_letter=error,
    )


@dataclass(frozen=True, slots=True)
class DeadLetteringEncoder:
    """An encoder that makes a dead letter of an event that can't be encoded."""

    encoder: Encoder

    def encode(self, change: Mapping[str, object], collection: str, /) -> EncodedEvent:
        """Encode a change event for `collection`, or what can be said of it.

        Raises EventUnencodableError when it isn't one at all.
        """
        try:
            return self.encoder.encode(change, collection)
        except EventUnencodableError as error:
            return dead_letter(self.encoder.remains(change, collection), error)

    def token_of(self, change: Mapping[str, object], /) -> ResumeToken:
        """Return the resume token of any change event. Raises EventUnencodableError."""
        return self.encoder.token_of(change)
