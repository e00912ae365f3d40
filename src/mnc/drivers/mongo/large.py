"""Reading a change event that is larger than MongoDB returns one. Blocking: for a thread.

Theory of operation. An event over 16 MiB fails the whole reply that it would be in (error 10334).
It is read alone, without its largest fields: the document before the change first, then the one
after it, then the description of the update. What is left says which event it is, and has its own
resume token. Servers since 6.0.9 and 7.0 then give the whole event in fragments
(`$changeStreamSplitLargeEvent`), which are put together again here; their tokens are the fragments'
own, so the event keeps the one that it has everywhere else. From other servers it stays without
those fields, and says so in `truncated`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Final, Protocol

from pymongo.errors import NetworkTimeout, OperationFailure

from mnc.drivers.mongo.cursor import CursorReply, Document
from mnc.drivers.mongo.failures import TOO_LARGE

__all__ = ["LargeEventReader", "OneOffCursor", "Stage", "reassemble"]

Stage = Mapping[str, object]

_NO_SUCH_STAGE: Final = 40324
"""What a server answers that can't split events."""

_BY_SIZE: Final = ("fullDocumentBeforeChange", "fullDocument", "updateDescription")
"""What is left out, in this order: consumers miss the last one most, and find no other copy."""

_ANSWERS: Final = 20
"""How many answers without the event are waited for, half a second each: it was there before."""


class OneOffCursor(Protocol):
    """What is needed of a `ChangeCursor`."""

    def open(self, pipeline: Sequence[Stage]) -> object:
        """Open the cursor."""
        ...

    def more(self, batch_size: int) -> CursorReply:
        """Wait for events."""
        ...

    def close(self) -> None:
        """Close the cursor."""
        ...


class LargeEventReader:
    """Reads the next event of a change stream that fails for its size."""

    def __init__(self, make_cursor: Callable[[], OneOffCursor]) -> None:
        self._make_cursor = make_cursor

    def read(self, pipeline: Sequence[Stage]) -> CursorReply | None:
        """Return the first event of `pipeline` alone, or None if its key alone is too large.

        Raises PyMongoError.
        """
        found = self._reduced(pipeline)
        if found is None:
            return None
        (event,) = found.events
        parts: Sequence[CursorReply] = [found]
        if fragments := self._fragments(pipeline):
            event = reassemble(fragments, token=event["_id"])
            parts = fragments
        return CursorReply(
            events=[event],
            token=event["_id"],
            size_bytes=sum(part.size_bytes for part in parts),
            is_last=False,
        )

    def _reduced(self, pipeline: Sequence[Stage]) -> CursorReply | None:
        """Return the event without as few fields as can be."""
        for count in range(1, len(_BY_SIZE) + 1):
            left_out = _BY_SIZE[:count]
            with self._opened([*pipeline, *_without(left_out)]) as cursor:
                try:
                    found = _next(cursor)
                except OperationFailure as error:
                    if error.code not in TOO_LARGE:
                        raise
                    continue
            (event,) = found.events
            event["truncated"] = [
                field for field, is_there in event["truncated"].items() if is_there
            ]
            return found
        return None

    def _fragments(self, pipeline: Sequence[Stage]) -> Sequence[CursorReply]:
        """Return the replies with the event's fragments; none from a server that can't split."""
        try:
            with self._opened([*pipeline, {"$changeStreamSplitLargeEvent": {}}]) as cursor:
                found = [_next(cursor)]
                # Unsplit when what was looked up has become smaller since.
                place = found[0].events[0].get("splitEvent", {"of": 1})
                found += [_next(cursor) for _ in range(place["of"] - 1)]
                return found
        except OperationFailure as error:
            if error.code != _NO_SUCH_STAGE:
                raise
            return ()

    @contextmanager
    def _opened(self, pipeline: Sequence[Stage]) -> Iterator[OneOffCursor]:
        cursor = self._make_cursor()
        try:
            cursor.open(pipeline)
            yield cursor
        finally:
            cursor.close()


def _without(fields: Sequence[str]) -> Sequence[Stage]:
    """Return the stages that leave fields out, and say of each whether there was a value."""
    # Only the server knows: a document may be null, and the user's stages may have removed it.
    there = {field: {"$gt": [f"${field}", None]} for field in fields}
    return [{"$set": {"truncated": there}}, {"$project": dict.fromkeys(fields, 0)}]


def reassemble(fragments: Sequence[CursorReply], *, token: Document) -> Document:
    """Put the fragments of an event together, each of which has some of its fields."""
    event: Document = {}
    for fragment in fragments:
        event |= fragment.events[0]
    event.pop("splitEvent", None)
    return event | {"_id": token}


def _next(cursor: OneOffCursor) -> CursorReply:
    """Return the next event alone. Raises NetworkTimeout when there is none all of a sudden."""
    for _ in range(_ANSWERS):
        found = cursor.more(1)
        if found.events:
            return found
    raise NetworkTimeout("an event that was there does not come again")
