"""What a position marker means for a batch whose outcome isn't known. Pure.

JetStream's answer to a fenced batch can be lost, late, or an error that says little. Nothing is
assumed then: the marker is read again, and these rules say what follows. They are exact because a
batch stores its events and the marker together or not at all, and because a batch whose fence has
passed can never be stored any more.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from mnc.model import Checkpoint, EncodedEvent

__all__ = ["Foreign", "NotStored", "Stored", "Verdict", "reconcile"]


@dataclass(frozen=True, slots=True)
class NotStored:
    """Nothing was stored so far: try the same events again, behind the same fence."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stored:
    """The first events were stored, all those of an earlier attempt: go on with the rest."""

    reached: Checkpoint
    rest: Sequence[EncodedEvent]


@dataclass(frozen=True, slots=True)
class Foreign:
    """This writer never put the marker there: another one did, or the stream was made anew."""


Verdict = NotStored | Stored | Foreign


def reconcile(
    reached: Checkpoint, events: Sequence[EncodedEvent], marker: Checkpoint | None
) -> Verdict:
    """Say what became of `events`, sent one or more times behind the fence `reached.stream_seq`.

    `marker` is what the stream says now; None means that the subject holds no message.
    """
    if marker is None:
        return NotStored() if reached.stream_seq == 0 else Foreign()
    if marker.position.epoch > reached.position.epoch:
        # A later owner stores the same events, and so would seem to be this one.
        return Foreign()
    if marker.stream_seq == reached.stream_seq:
        # Idle progress moves a position ahead of its marker, never behind it.
        ours = marker.position.token <= reached.position.token
        return NotStored() if ours else Foreign()
    for index, event in enumerate(events):
        if event.token == marker.position.token:
            return Stored(reached=marker, rest=events[index + 1 :])
    return Foreign()
