"""A fake source with routes and readers over it, for tests of reading."""

from __future__ import annotations

from collections.abc import Sequence

import trio
from tests.fakes.observer import RecordingObserver
from tests.fakes.source import DATABASE, FakeSource
from tests.fakes.tokens import high_water_mark

from mnc.capture.budget import ByteBudget
from mnc.capture.demultiplex import Encode
from mnc.capture.reader import Detach, Merge, Reader
from mnc.capture.route import Route
from mnc.encode.event import Encoder
from mnc.model import EncodedEvent, ResumeToken

__all__ = ["Reading", "never_detach", "never_merge", "take_all"]

_OPERATIONS = frozenset({"insert", "update", "replace", "delete"})


def never_merge(_: Reader) -> bool:
    """Merge nothing."""
    return False


def never_detach(_: Route) -> bool:
    """Detach nothing."""
    return False


def take_all(route: Route) -> Sequence[EncodedEvent]:
    """Take what the route holds now, and settle it."""
    taken = list(route._buffer)
    route._buffer.clear()
    route.settle(taken)
    return taken


class Reading:
    """What readers share: a source, a byte budget and an observer."""

    def __init__(self, *, budget_bytes: int = 10**9) -> None:
        self.source = FakeSource()
        self.budget = ByteBudget(budget_bytes)
        self.observer = RecordingObserver()
        self.beginning = high_water_mark(self.source.now)

    def route(self, collection: str, frontier: ResumeToken | None = None) -> Route:
        """Return a new route, by default from the beginning."""
        return Route(
            collection=collection,
            frontier=frontier or self.beginning,
            account=self.budget.open_account(),
        )

    def reader(
        self,
        *routes: Route,
        merge: Merge = never_merge,
        detach: Detach = never_detach,
        encode: Encode | None = None,
    ) -> Reader:
        """Return a reader for `routes`."""
        return Reader(
            source=self.source,
            encode=encode or Encoder(stream="cs"),
            home=DATABASE,
            operations=lambda _: _OPERATIONS,
            routes=routes,
            observer=self.observer,
            merge=merge,
            detach=detach,
        )

    async def read(self, *routes: Route, seconds: float = 5.0) -> Reader:
        """Read for a while, then stop; return the reader, which has ended."""
        reader = self.reader(*routes)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(reader.run)
            await trio.sleep(seconds)
            reader.stop()
        return reader

    def tokens(self, collection: str, *, after: ResumeToken | None = None) -> Sequence[ResumeToken]:
        """Return the tokens of a collection's events."""
        return [
            token for token in self.source.tokens(collection) if token > (after or self.beginning)
        ]
