"""What is stored in the place of an event that the stream doesn't take: a matter of policy.

Theory of operation. A substitute has the event's token and message id, and goes where the event
would have gone: into the same fenced batch. So it is stored once and in order as the event would
have been. It may be refused in its turn, and then has a substitute too: a payload that is too large
gives a reference, an event that is refused anyhow gives a dead letter. Neither happens twice to an
event, so there is an end, and it is an error that the collection waits with. That is what protects
from a stream that refuses everything: it takes no dead letter either.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from mnc.encode.dead_letter import dead_letter
from mnc.encode.reference import refer
from mnc.errors import PayloadTooLargeError, SinkError
from mnc.model import EncodedEvent
from mnc.publish.ports import PayloadStore

__all__ = ["ClaimChecks", "DeadLetters", "Remedies", "Remedy", "Stop"]


class Remedy(Protocol):
    """Finds a substitute for an event that the stream doesn't take."""

    async def substitute(self, event: EncodedEvent, error: SinkError) -> EncodedEvent:
        """Return what to store in the place of `event`, which alone gave `error`.

        Raises `error` when there is nothing; SinkUnavailableError when there can be something
        later; other SinkErrors when a person has to help.

        Cancellation: nothing has changed that needs undoing.
        """
        ...


@dataclass(frozen=True, slots=True)
class Stop:
    """Has no substitute: the collection waits."""

    advice: str
    """What a person may set instead."""

    async def substitute(self, event: EncodedEvent, error: SinkError) -> EncodedEvent:
        """Raise `error`."""
        del event
        remedy = f"{error.remedy}, or {self.advice}" if error.remedy else self.advice
        raise type(error)(error.message, remedy=remedy, code=error.code) from error


@dataclass(frozen=True, slots=True)
class DeadLetters:
    """Makes a dead letter; of one that is too large, with the event's summary as its payload."""

    async def substitute(self, event: EncodedEvent, error: SinkError) -> EncodedEvent:
        """Return the dead letter, or raise `error` when the event is one already."""
        if isinstance(error, PayloadTooLargeError):
            if not event.summary:
                raise error
            event = event._replace(payload=event.summary, summary=b"")
            if event.dead_letter is not None:
                return event
        elif event.dead_letter is not None:
            raise error
        return dead_letter(event, error)


@dataclass(frozen=True, slots=True)
class ClaimChecks:
    """Keeps the payload in an object store; the message refers to it."""

    store: PayloadStore

    async def substitute(self, event: EncodedEvent, error: SinkError) -> EncodedEvent:
        """Return the reference, or raise `error` when the event is one already."""
        if not event.summary:
            raise error
        # The payload BEFORE the reference: whoever reads the message finds it.
        reference = await self.store.put(event.message_id, event.payload)
        return refer(event, reference)


@dataclass(frozen=True, slots=True, kw_only=True)
class Remedies:
    """The policies for the two kinds of refusal."""

    oversize: Remedy
    """For an event that is over a limit."""
    poison: Remedy
    """For an event that JetStream refuses for a reason of its own."""

    async def substitute(self, event: EncodedEvent, error: SinkError) -> EncodedEvent:
        """Return what to store in the place of `event`; see `Remedy.substitute`."""
        remedy = self.oversize if isinstance(error, PayloadTooLargeError) else self.poison
        return await remedy.substitute(event, error)
