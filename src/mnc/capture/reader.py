"""A reader: one change stream over several collections, handed out to their routes.

Theory of operation. MongoDB reads its whole oplog once for every open change stream, so collections
share one. A reader opens at the cluster time of the oldest frontier of its routes; each reply is
decoded and encoded off the event loop, whole, then delivered; while that happens, the next reply is
fetched already. What a route has been delivered before (its frontier says so) is skipped.

A reader hands out in order, so the slowest lane holds up the others. The reader waits for it for
about a second, in all, between two times at the end of the oplog; then it *detaches* the route, if
another lane has nothing to do meanwhile, and goes on. The route is read for anew from its frontier.

Lanes that restart or were detached have a reader of their own, so that re-reading doesn't hold up
the others. Once it has come as far as an older reader of the database, that one takes over its
routes: `Reader.offer`.
"""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Protocol

import trio

from mnc.capture.completeness import Lack
from mnc.capture.demultiplex import (
    FIRST_BATCH_SIZE,
    Encode,
    Lot,
    Operations,
    demultiplex,
    next_batch_size,
)
from mnc.capture.ports import (
    ChangeDocument,
    ChangeSource,
    ChangeStream,
    Open,
    Reply,
    StartAfter,
    StartAt,
)
from mnc.capture.route import Route
from mnc.errors import SourceError
from mnc.model import ResumeToken

__all__ = ["CaptureObserver", "Detach", "Merge", "Reader"]

_INLINE_ENCODE_BYTES = 32 * 1024
"""A reply up to this size is encoded on the event loop, in under a millisecond.

Going through a thread costs a third of one, which a single event need not pay.
"""

_PATIENCE_S = 1.0
"""How long a reader waits for one lane, in all, until it has been at the end of the oplog again.

By so much the others' events are late. Shorter, and more bursts that their lane stores at full
speed cost a change stream of their own.
"""

_GATHER_S = 0.002
"""How long a reader lets events gather that come faster than this, one after the other.

MongoDB answers with the first that there is, and an answer costs half a millisecond of the
processor, whatever it holds.
"""

_LOOK_S = 0.1
"""How often a reader looks whether it has lost its patience."""


class CaptureObserver(Protocol):
    """Hears what a reader does."""

    def opened(self, collections: Collection[str], /) -> None:
        """Hear that a change stream is open and has answered, for `collections`."""
        ...

    def captured(self, collection: str, events: int, /) -> None:
        """Hear that `events` new events of `collection` were read."""
        ...

    def lacked(self, collection: str, lack: Lack, events: int, /) -> None:
        """Hear that `events` of those lack a document."""
        ...

    def waited(self, collection: str, seconds: float, /) -> None:
        """Hear that handing them over took so long, for want of room."""
        ...


class Merge(Protocol):
    """Offers a reader's routes to an older one; says whether that one took them over."""

    def __call__(self, reader: Reader, /) -> bool:
        """Offer the routes of `reader`, which stands at a reply's boundary."""
        ...


class Detach(Protocol):
    """Gives a route that holds up others a reader of its own; says whether it gets one."""

    def __call__(self, route: Route, /) -> bool:
        """Read for `route` from its frontier on. When this says yes, its reader lets go of it."""
        ...


@dataclass(frozen=True, slots=True)
class _Fetched:
    reply: Reply
    is_last: bool
    """Whether the server had nothing more."""


@dataclass(frozen=True, slots=True)
class _Delivery:
    route: Route
    scope: trio.CancelScope
    began_at: float


class Reader:
    """Read one database's change stream for a set of routes.

    Invariants: `options` are those of all its routes. A route's frontier says what it has been
    delivered; so where this reader begins, and which other reader read for the route before, makes
    no difference to what the route gets.
    """

    def __init__(
        self,
        *,
        source: ChangeSource,
        encode: Encode,
        home: str,
        operations: Operations,
        routes: Iterable[Route],
        observer: CaptureObserver,
        merge: Merge,
        detach: Detach,
    ) -> None:
        """Make one for `routes`, at least one; `home` is the database that MONGO_URI names."""
        self._source = source
        self._encode = encode
        self._home = home
        self._operations = operations
        self._routes = {route.collection: route for route in routes}
        self.options = next(iter(self._routes.values())).options
        """What its change streams are opened with."""
        self._observer = observer
        self._merge = merge
        self._detach = detach
        self._waited_s = defaultdict[str, float](float)
        """How long each route has been waited for since the end of the oplog was last reached."""
        self._delivery: _Delivery | None = None
        """What is being delivered now."""
        self._must_reopen = False
        self._stopping = False
        self._encode_limiter = trio.CapacityLimiter(1)

    @property
    def routes(self) -> Collection[Route]:
        """The routes that this reader reads for; ended ones leave at the next reply."""
        return self._routes.values()

    @property
    def boundary(self) -> ResumeToken:
        """Everything up to this token has been delivered to every route. Needs a route."""
        return min(route.frontier for route in self._routes.values())

    def stop(self) -> None:
        """Make `run` return after the reply that is being delivered."""
        self._stopping = True

    def narrow(self) -> None:
        """Have the server leave out what no route wants any more, from the next reply on."""
        if not all(route.is_open for route in self.routes):
            self._must_reopen = True

    def offer(self, other: Reader) -> bool:
        """Take over the routes of `other`, which stands at a reply's boundary.

        They are read for from the next reply on. Says no when `other` is behind this reader, when
        this reader is ending, and while a route of either would hold up the others.
        """
        if self._stopping or not self._drop_ended() or other.boundary < self.boundary:
            return False
        if not all(route.has_room for route in (*self.routes, *other.routes)):
            return False
        self._routes |= other._routes
        other._routes = {}
        self._must_reopen = True
        return True

    async def run(self) -> None:
        """Read until `stop` is called or no open route is left.

        Raises SourceError; ending the routes is the caller's.

        Cancellation: the cursor is closed; the routes keep what was delivered.
        """
        invalidated: ResumeToken | None = None
        while not self._stopping and self._drop_ended():
            routes = dict(self._routes)
            boundary = self.boundary
            start: Open = StartAt(boundary.cluster_time)
            if invalidated is not None and invalidated <= boundary:
                start = StartAfter(invalidated)
            self._must_reopen = False
            stream = await self._source.open(tuple(routes), start=start)
            try:
                invalidated = await self._read(stream, routes)
            finally:
                await stream.aclose()

    async def _read(self, stream: ChangeStream, routes: dict[str, Route]) -> ResumeToken | None:
        """Deliver replies until the stream has to be opened anew; return an invalidate's token.

        `routes` are those that the stream was opened for. One that is detached leaves them for
        good, even when this reader takes it over again meanwhile: it misses events of this stream.
        """
        send, receive = trio.open_memory_channel[_Fetched | SourceError](0)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._fetch, stream, send)
            nursery.start_soon(self._lose_patience)
            is_first = True
            while True:
                fetched = await receive.receive()
                if isinstance(fetched, SourceError):
                    break
                reply = fetched.reply
                if is_first:
                    # Only now it is sure that the oplog reaches back to the start.
                    is_first = False
                    self._observer.opened([name for name in routes if routes[name].is_open])
                await self._deliver(reply, routes)
                if fetched.is_last:
                    self._waited_s.clear()
                if reply.invalidated or self._stopping or self._must_reopen:
                    break
                if not self._drop_ended() or self._merge(self):
                    break
            nursery.cancel_scope.cancel()
        if isinstance(fetched, SourceError):
            raise fetched
        return reply.token if reply.invalidated else None

    async def _fetch(
        self, stream: ChangeStream, send: trio.MemorySendChannel[_Fetched | SourceError]
    ) -> None:
        """Keep one reply ready beside the one that is being delivered."""
        batch_size = FIRST_BATCH_SIZE
        while True:
            asked_at = trio.current_time()
            try:
                reply = await stream.next_reply(batch_size=batch_size)
            except SourceError as error:
                # Behind the replies that came before it, which are still good.
                await send.send(error)
                return
            events = len(reply.events)  # they are gone once the reply is handed out
            is_last = events < batch_size
            await send.send(_Fetched(reply, is_last=is_last))
            if reply.invalidated:
                return
            if is_last and trio.current_time() - asked_at < _GATHER_S:
                await trio.sleep(_GATHER_S)
            batch_size = next_batch_size(batch_size, events=events, size_bytes=reply.size_bytes)

    async def _deliver(self, reply: Reply, routes: dict[str, Route]) -> None:
        """Hand a reply's events to their routes, and tell all routes how far the reply reaches."""
        if reply.events:
            for collection, lot in (await self._demultiplex(reply, routes)).items():
                if not routes[collection].is_open:  # it has ended meanwhile
                    continue
                self._observer.captured(collection, len(lot.events))
                for lack, events in lot.lacks.items():
                    self._observer.lacked(collection, lack, events)
                if not await self._deliver_lot(lot, routes[collection]):
                    del routes[collection]
        for route in routes.values():
            if route.is_open:
                route.reach(reply.token)

    async def _deliver_lot(self, lot: Lot, route: Route) -> bool:
        """Deliver a lot as a whole; return False if its route was detached before the end."""
        events = lot.events
        while events:
            began_at = trio.current_time()
            with trio.CancelScope() as scope:
                self._delivery = _Delivery(route, scope, began_at)
                await route.deliver(events)
            self._delivery = None
            if not route.is_open:
                break
            waited_s = trio.current_time() - began_at
            self._waited_s[route.collection] += waited_s
            self._observer.waited(route.collection, waited_s)
            if not scope.cancelled_caught:
                break
            if self._detach(route):
                del self._routes[route.collection]
                self._waited_s[route.collection] = 0.0
                return False
            events = [event for event in events if event.token > route.frontier]
        if lot.error is not None:
            route.end(lot.error)
        return True

    async def _lose_patience(self) -> None:
        """Cancel a delivery whose route should be detached."""
        while True:
            await trio.sleep(_LOOK_S)
            delivery = self._delivery
            if delivery is not None and self._should_detach(delivery):
                delivery.scope.cancel()

    def _should_detach(self, delivery: _Delivery) -> bool:
        """Say whether a lane is slow while another has nothing to do, which may be waiting for it.

        While all have events in hand, going on would only fill them up.
        """
        route = delivery.route
        waited_s = self._waited_s[route.collection] + trio.current_time() - delivery.began_at
        return (
            waited_s >= _PATIENCE_S
            and route.waits_for_lane
            and any(other.is_settled for other in self._routes.values())
        )

    async def _demultiplex(self, reply: Reply, routes: Mapping[str, Route]) -> Mapping[str, Lot]:
        frontiers = {name: route.frontier for name, route in routes.items() if route.is_open}

        def encode() -> Mapping[str, Lot]:
            return demultiplex(
                _taken(reply.events),
                frontiers=frontiers,
                home=self._home,
                operations=self._operations,
                encode=self._encode,
            )

        if reply.size_bytes <= _INLINE_ENCODE_BYTES:
            return encode()
        return await trio.to_thread.run_sync(encode, limiter=self._encode_limiter)

    def _drop_ended(self) -> bool:
        """Let go of ended routes; say whether any is left."""
        self._routes = {name: route for name, route in self._routes.items() if route.is_open}
        return bool(self._routes)


def _taken(events: deque[ChangeDocument]) -> Iterator[ChangeDocument]:
    """Take events out, the first one first.

    So each is freed when it is encoded, in the thread that does that: a whole reply's would hold up
    the event loop for longer than anything else that it does with a reply.
    """
    while events:
        yield events.popleft()
