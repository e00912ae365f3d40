"""A lane: one collection's way from its route into the stream, and its checkpoint after that.

Theory of operation. A lane begins where `acquire` says. It takes what its route holds, publishes it
as one fenced batch, frees its bytes, and notes the new position for the keeper. Batches form by
themselves: while one is in flight, the next collects. What fills the route is a reader, which other
lanes share; or a copier of the lane's own, for a snapshot, at whose end the lane ends too. A lane
that fails is dropped as a whole; its successor acquires again.
"""

from __future__ import annotations

from typing import Protocol

import trio

from mnc.capture.copier import Copier, CopyObserver
from mnc.capture.route import Route
from mnc.checkpoint.keeper import CheckpointKeeper, CheckpointObserver
from mnc.errors import CheckpointError, MncError
from mnc.model import Checkpoint, Position
from mnc.publish.publisher import MAX_BATCH_BYTES, MAX_BATCH_EVENTS, Publisher
from mnc.telemetry.tracing import UNTRACED, LaneTracer

__all__ = ["Lane", "LaneObserver"]

_IDLE_PROGRESS_S = 10.0
"""How often the position of a quiet collection moves on.

A token document is itself an entry in the oplog: much more often, and the writes feed themselves.
"""

_LAST_CHECKPOINT_S = 2.0
"""How long a lane that ends may take to write its checkpoint."""

_FIRST_LOOK_S = 1.0
"""When a new lane is first seen to have nothing left to store: earlier trouble is over then."""


class LaneObserver(CheckpointObserver, CopyObserver, Protocol):
    """Hears what a lane does."""

    def settled(self) -> None:
        """Hear that everything that was captured is stored."""
        ...


class Lane:
    """Move one collection's events from its route into the stream.

    Invariants: bytes are freed, and a position is noted, only after the stream has confirmed it.
    """

    def __init__(
        self,
        *,
        route: Route,
        publisher: Publisher,
        keeper: CheckpointKeeper,
        observer: LaneObserver,
        copier: Copier | None = None,
        tracer: LaneTracer = UNTRACED,
    ) -> None:
        self.route = route
        self.copier = copier
        """Fills the route, which no reader does then."""
        self.is_copied = False
        """Whether the copier's snapshot is stored as complete."""
        self._tracer = tracer
        self._publisher = publisher
        self._keeper = keeper
        self._observer = observer

    async def run(self) -> None:
        """Run until the route ends; then everything that was delivered is stored.

        Raises the route's error, or SinkError when publishing failed. A snapshot that is complete
        is stored as such, and raises CheckpointError when its token document can't be written,
        because a stream without batches has the end of a snapshot in that alone.

        Cancellation: what is stored but not yet in a checkpoint is found from the marker later.
        """
        failure: MncError | None = None
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._keeper.run)
            nursery.start_soon(self._note_idle_progress)
            if self.copier is not None:
                nursery.start_soon(self._copy, self.copier)
            try:
                await self._publish_all()
            except MncError as error:
                failure = error
            nursery.cancel_scope.cancel()
        if self.copier is not None and self.is_copied:
            await self._keeper.flush()
            self._observer.copy_completed(self.copier.snapshot)
            return
        # Briefly: the marker says as much, and a lane that failed is reported after this.
        with trio.move_on_after(_LAST_CHECKPOINT_S):
            try:
                await self._keeper.flush()
            except CheckpointError as error:
                self._observer.checkpoint_failed(error)
        if failure is not None:
            raise failure

    async def _publish_all(self) -> None:
        self._keeper.advance(self._publisher.reached)
        while events := await self.route.take(
            max_events=MAX_BATCH_EVENTS, max_bytes=MAX_BATCH_BYTES
        ):
            with self._tracer.batch(events):
                await self._publisher.publish(events)
            self.route.settle(events)
            self._keeper.advance(self._publisher.reached)
        if self.copier is not None and self.copier.is_complete:
            await self._publisher.finish(self.copier.snapshot)
            self._keeper.advance(self._publisher.reached)
            self.is_copied = True

    async def _copy(self, copier: Copier) -> None:
        try:
            await copier.run(self.route)
        except MncError as error:
            self.route.end(error)
        else:
            self.route.end()

    async def _note_idle_progress(self) -> None:
        """Move the checkpoint of a quiet collection on, so that its position never ages out."""
        delay_s = _FIRST_LOOK_S
        while True:
            await trio.sleep(delay_s)
            delay_s = _IDLE_PROGRESS_S
            if not self.route.is_settled:
                continue
            self._observer.settled()
            reached, frontier = self._publisher.reached, self.route.frontier
            if frontier > reached.position.token:
                position = Position(token=frontier, epoch=reached.position.epoch)
                self._keeper.advance(Checkpoint(position=position, stream_seq=reached.stream_seq))
