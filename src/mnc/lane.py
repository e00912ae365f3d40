"""A lane: one collection's way from its route into the stream, and its checkpoint after that.

Theory of operation. `acquire` says where the collection stands: what the stream's marker and the
token document say, or "now" when it was never watched; a first position is made durable, in
MongoDB and in the stream, BEFORE the first event is read. A new owner puts a marker with its own
epoch there, so that an earlier owner is fenced out at once. A position that the oplog has lost is
given up in the same way, where the settings say so. `Lane.run` then takes what the route
holds, publishes it as one fenced batch, frees its bytes, and notes the new position for the keeper.
Batches form by themselves: while one is in flight, the next collects. A lane that fails is dropped
as a whole; its successor acquires again.
"""

from __future__ import annotations

from typing import Protocol

import trio

from mnc.capture.ports import ChangeSource
from mnc.capture.route import Route
from mnc.checkpoint.keeper import CheckpointKeeper, CheckpointObserver
from mnc.checkpoint.ports import CheckpointStore
from mnc.checkpoint.position import resume_from
from mnc.errors import (
    CheckpointError,
    FenceLostError,
    ForeignPositionError,
    MncError,
    NotOwnerError,
    PositionLostError,
)
from mnc.model import (
    SINGLE_INSTANCE,
    Checkpoint,
    Epoch,
    Namespace,
    Position,
    ResumeToken,
    StreamSeq,
)
from mnc.publish.ports import Batch, StreamPort
from mnc.publish.publisher import MAX_BATCH_BYTES, MAX_BATCH_EVENTS, Publisher

__all__ = ["AcquireObserver", "Lane", "LaneObserver", "acquire"]

_IDLE_PROGRESS_S = 10.0
"""How often the position of a quiet collection moves on.

A token document is itself an entry in the oplog: much more often, and the writes feed themselves.
"""

_LAST_CHECKPOINT_S = 2.0
"""How long a lane that ends may take to write its checkpoint."""

_NO_MARKER = StreamSeq(0)

_FIRST_LOOK_S = 1.0
"""When a new lane is first seen to have nothing left to store: earlier trouble is over then."""

_ACQUIRING_ATTEMPTS = 20
"""An earlier owner that doesn't know it yet may move the marker every few milliseconds, and to read
and replace it takes a few, too. One attempt of these falls between two of its batches."""


async def acquire(
    namespace: Namespace,
    *,
    marker_subject: str,
    source: ChangeSource,
    stream: StreamPort,
    store: CheckpointStore,
    epoch: Epoch,
    renew_if_lost: bool,
    observer: AcquireObserver,
) -> Checkpoint:
    """Return where `namespace` resumes, with the fence for its first batch.

    The position in the stream has `epoch` then, where it is kept in a marker. Epoch 0 is a single
    instance's: a person runs it, so it takes over from any other, and any other from it.

    With `renew_if_lost` a position to which the oplog no longer reaches back is replaced by "now",
    behind the same fence. What the last lane met doesn't count: the oplog is asked about the
    position that is found now, which another writer may have moved on.

    Raises NotOwnerError when the position has a higher epoch than this; other SinkErrors,
    SourceError or CheckpointError.

    Cancellation: a first checkpoint and a marker with `epoch` may have been stored.
    """
    attempt = 0
    while True:
        attempt += 1
        # The marker BEFORE the document: a document written in between then names a fence that the
        # marker read here doesn't have, and is rightly ignored.
        marker = await stream.read_position(marker_subject)
        stored = await store.load(namespace)
        reached = resume_from(marker, stored)
        if reached is None:
            now = Position(token=await source.current_token(), epoch=epoch)
            reached = await store.create(namespace, Checkpoint(position=now, stream_seq=_NO_MARKER))
        found_epoch = reached.position.epoch
        if epoch != SINGLE_INSTANCE and found_epoch > epoch:
            raise NotOwnerError(
                f"epoch {found_epoch} has another owner; this instance was appointed for {epoch}",
                found_epoch=found_epoch,
            )
        renewed = await _renewed(reached, source) if renew_if_lost else None
        if marker is not None and found_epoch == epoch and renewed is None:
            return reached
        # Whoever drops the database takes the token documents along: the position stands in the
        # stream from the start. And an earlier owner that still writes loses its fence BEFORE
        # anything is read for this one.
        first = Batch(
            events=(),
            marker_subject=marker_subject,
            position=Position(token=renewed or reached.position.token, epoch=epoch),
            expected_seq=_NO_MARKER if marker is None else marker.stream_seq,
        )
        try:
            stream_seq = await stream.publish(first)
        except FenceLostError:
            if attempt == _ACQUIRING_ATTEMPTS:
                raise
            continue
        acquired = Checkpoint(position=first.position, stream_seq=stream_seq)
        if renewed is not None:
            # A stream without batches has no marker: there the document alone has the position.
            await store.save(namespace, acquired)
            observer.renewed(lost=reached.position, found=acquired.position)
        return acquired


async def _renewed(reached: Checkpoint, source: ChangeSource) -> ResumeToken | None:
    """Return a token for "now" if the oplog no longer reaches back to `reached`, or None."""
    try:
        await source.check_history(reached.position.token.cluster_time)
    except PositionLostError as error:
        now = await source.current_token()
        if now <= reached.position.token:
            raise ForeignPositionError(
                "the position is lost, and lies in the future of this MongoDB cluster",
                remedy="check that MONGO_URI names the cluster that the stream was filled from",
            ) from error
        return now
    return None


class AcquireObserver(Protocol):
    """Hears what acquiring a collection does."""

    def renewed(self, *, lost: Position, found: Position) -> None:
        """Hear that the events between two positions are skipped: nobody can read them any more."""
        ...


class LaneObserver(CheckpointObserver, Protocol):
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
    ) -> None:
        self.route = route
        self._publisher = publisher
        self._keeper = keeper
        self._observer = observer

    async def run(self) -> None:
        """Run until the route ends; then everything that was delivered is stored.

        Raises the route's error, or SinkError when publishing failed.

        Cancellation: what is stored but not yet in a checkpoint is found from the marker later.
        """
        failure: MncError | None = None
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._keeper.run)
            nursery.start_soon(self._note_idle_progress)
            try:
                await self._publish_all()
            except MncError as error:
                failure = error
            nursery.cancel_scope.cancel()
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
            await self._publisher.publish(events)
            self.route.settle(events)
            self._keeper.advance(self._publisher.reached)

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
