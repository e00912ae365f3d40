"""A route: the bounded way from a reader to one collection's lane.

Theory of operation. A reader *delivers* encoded events: it reserves their bytes in the process's
budget, which is the back-pressure, and puts them in the route's buffer. The lane *takes* them in
batches and *settles* each batch once the stream has acknowledged it, which frees the bytes.
The route's *frontier* says how far the reader has come for this collection. Whoever reads for the
route skips what is not after the frontier, so a route can move from one reader to another, and a
reader can begin earlier than the route needs, without an event lost or delivered twice.
A route ends from the reader's side with `end`, after which the lane drains what was delivered and
then finds the error, if there was one; or from the lane's side with `close`, which drops all.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

import trio

from mnc.capture.budget import Account
from mnc.capture.options import CaptureOptions
from mnc.errors import MncError
from mnc.model import EncodedEvent, ResumeToken

__all__ = ["Route"]

_PIECE_BYTES = 256 * 1024
"""Reserve in pieces of about this size: a large reply begins to flow before all of it fits."""

_PIECES = 16
"""Into how many pieces a budget goes at least, so that a piece fits into what others leave free."""


class Route:
    """Carry one collection's events from a reader to its lane.

    Invariants: the frontier never goes back; events leave in the order in which they were
    delivered; what the account holds is the size of the events delivered and not yet settled.
    """

    def __init__(
        self,
        *,
        collection: str,
        frontier: ResumeToken,
        account: Account,
        options: CaptureOptions = CaptureOptions(),  # noqa: B008 - frozen
    ) -> None:
        self.collection = collection
        self.options = options
        """What a change stream has to be opened with that reads for this route."""
        self._frontier = frontier
        self._account = account
        self._buffer: deque[EncodedEvent] = deque()
        self._changed = trio.Event()
        self._ended = False
        self._error: MncError | None = None

    @property
    def frontier(self) -> ResumeToken:
        """Every event of the collection up to this token has been delivered."""
        return self._frontier

    @property
    def is_settled(self) -> bool:
        """Whether everything that was delivered has been stored."""
        return self._account.held_bytes == 0

    @property
    def is_open(self) -> bool:
        """Whether the lane still wants events."""
        return not self._ended

    @property
    def has_room(self) -> bool:
        """Whether what was delivered and isn't stored yet is less than half of the lane's share."""
        return self._account.has_room

    @property
    def waits_for_lane(self) -> bool:
        """Whether a delivery waits until the lane has stored more of what it has."""
        return self._account.waits_for_share

    async def deliver(self, events: Sequence[EncodedEvent]) -> None:
        """Put `events`, all after the frontier and in order, in the buffer as the budget allows.

        Returns at once, having dropped them, when the route has ended. One delivery at a time.

        Cancellation: a prefix has been delivered, and the frontier says which.
        """
        piece_bytes = min(_PIECE_BYTES, self._account.limit_bytes // _PIECES)
        begin = 0
        while begin < len(events) and self.is_open:
            end, size = begin + 1, events[begin].size_bytes
            while end < len(events) and (more := size + events[end].size_bytes) <= piece_bytes:
                size, end = more, end + 1
            try:
                await self._account.reserve(size)
            except trio.ClosedResourceError:
                return
            self._buffer.extend(events[begin:end])
            self._frontier = events[end - 1].token
            self._wake()
            begin = end

    def reach(self, token: ResumeToken) -> None:
        """Say that there is nothing more to deliver up to `token`."""
        self._frontier = max(self._frontier, token)

    async def take(self, *, max_events: int, max_bytes: int) -> Sequence[EncodedEvent]:
        """Wait for events and return the oldest, at least one, within both bounds if it can be.

        Returns an empty sequence when the route has ended and everything has been taken.
        Raises the error that it ended with, if any, instead.

        Cancellation: nothing is taken.
        """
        while not self._buffer:
            if self._error is not None:
                raise self._error
            if self._ended:
                return ()
            await self._changed.wait()
        taken = [self._buffer.popleft()]
        size = taken[0].size_bytes
        while self._buffer and len(taken) < max_events:
            size += self._buffer[0].size_bytes
            if size > max_bytes:
                break
            taken.append(self._buffer.popleft())
        return taken

    def settle(self, events: Sequence[EncodedEvent]) -> None:
        """Free the bytes of events that were taken and are stored."""
        self._account.release(sum(event.size_bytes for event in events))

    def end(self, error: MncError | None = None) -> None:
        """End the route after what has been delivered; the first call counts."""
        if not self._ended:
            self._ended = True
            self._error = error
            self._wake()

    def close(self) -> None:
        """Drop what was delivered, free all bytes, and end the route. Idempotent."""
        self._buffer.clear()
        self._account.close()
        self.end()

    def _wake(self) -> None:
        self._changed.set()
        self._changed = trio.Event()
