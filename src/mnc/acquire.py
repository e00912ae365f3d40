"""Acquiring a collection: where it goes on, made durable before anything is read.

Theory of operation. The stream's marker and the token document say where the collection stands, or
it is "now" when it was never watched. A first position is stored in MongoDB and in the stream
BEFORE the first event is read. A new owner puts a marker with its own epoch there, so that an
earlier owner is fenced out at once. A position that the oplog has lost is given up in the same way,
and a snapshot begins in the same way, where the settings say so.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Protocol

from mnc.capture.ports import ChangeSource
from mnc.checkpoint.ports import CheckpointStore
from mnc.checkpoint.position import LostHistory, begin_snapshot, check_past, renewed, resume_from
from mnc.errors import FenceLostError, NotOwnerError, PositionLostError
from mnc.model import SINGLE_INSTANCE, Checkpoint, Epoch, Namespace, Position, StreamSeq
from mnc.publish.ports import Batch, StreamPort

__all__ = ["AcquireObserver", "acquire"]

_NO_MARKER = StreamSeq(0)

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
    snapshot_first: bool,
    snapshot_now: bool,
    lost_history: LostHistory,
    observer: AcquireObserver,
) -> Checkpoint:
    """Return where `namespace` resumes, with the fence for its first batch.

    The position in the stream has `epoch` then, where it is kept in a marker. Epoch 0 is a single
    instance's: a person runs it, so it takes over from any other, and any other from it.

    With `snapshot_first` a collection that was never watched begins with a snapshot, with
    `snapshot_now` any that isn't in one already: its changes go on behind it. Unless
    `lost_history` is "stop", a position to which the oplog no longer reaches back is replaced,
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
            if snapshot_first:
                now = begin_snapshot(now)
            reached = await store.create(namespace, Checkpoint(position=now, stream_seq=_NO_MARKER))
        found_epoch = reached.position.epoch
        if epoch != SINGLE_INSTANCE and found_epoch > epoch:
            raise NotOwnerError(
                f"epoch {found_epoch} has another owner; this instance was appointed for {epoch}",
                found_epoch=found_epoch,
            )
        position = await _kept_or_renewed(reached.position, source, lost_history)
        is_renewed = position != reached.position
        if snapshot_now and position.snapshot is None:
            position = begin_snapshot(position)
        is_kept = position == reached.position
        if marker is not None and found_epoch == epoch and is_kept:
            return reached
        # Whoever drops the database takes the token documents along: the position stands in the
        # stream from the start. And an earlier owner that still writes loses its fence BEFORE
        # anything is read for this one.
        first = Batch(
            events=(),
            marker_subject=marker_subject,
            position=replace(position, epoch=epoch),
            expected_seq=_NO_MARKER if marker is None else marker.stream_seq,
        )
        if is_renewed:
            # Told BEFORE it is done: rather twice than never.
            observer.renewed(lost=reached.position, found=first.position)
        try:
            stream_seq = await stream.publish(first)
        except FenceLostError:
            if attempt == _ACQUIRING_ATTEMPTS:
                raise
            continue
        acquired = Checkpoint(position=first.position, stream_seq=stream_seq)
        if not is_kept:
            # A stream without batches has no marker: there the document alone has the position.
            await store.save(namespace, acquired)
        return acquired


async def _kept_or_renewed(
    position: Position, source: ChangeSource, policy: LostHistory
) -> Position:
    """Return `position`, or what takes its place if it is lost and `policy` allows that."""
    if policy == "stop":
        return position
    try:
        await source.check_history(position.token.cluster_time)
    except PositionLostError:
        now = await source.current_token()
        check_past(position.token, now=now)
        return renewed(position, now, policy=policy)
    return position


class AcquireObserver(Protocol):
    """Hears what acquiring a collection does."""

    def renewed(self, *, lost: Position, found: Position) -> None:
        """Hear that the events between two positions are skipped: nobody can read them any more.

        Once more for each attempt that fails then.
        """
        ...
