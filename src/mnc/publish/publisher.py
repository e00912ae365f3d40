"""The publisher of one collection: every event into the stream, exactly once and in order.

Theory of operation. A batch carries its events, the next position marker, and a fence: the sequence
at which this publisher left the marker. The stream takes the batch as a whole if the fence holds,
and not at all otherwise. An acknowledgement moves the fence. After anything else the publisher
assumes nothing: it reads the marker and lets `mnc.publish.fence` say whether to try again, to go on
after what was stored, or to stand down because somebody else wrote.

A batch that gets no answer is sent again in smaller ones, which a slow link can carry in time.
While NATS can't be reached, it waits for the connection and tries again without end, events in
hand. Refusals that trying again won't heal (a full stream, missing permissions) go to the
supervisor. Those of a single event, which smaller batches isolate, are a matter of policy: what
`mnc.publish.remedy` makes of it is stored in its place.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Protocol, assert_never

import trio

from mnc.backoff import Backoff
from mnc.errors import (
    DuplicateInBatchError,
    FenceLostError,
    OutcomeUnknownError,
    PayloadTooLargeError,
    SinkError,
    SinkRefusedError,
    SinkUnavailableError,
)
from mnc.model import Checkpoint, EncodedEvent, Epoch, Position, Snapshot
from mnc.publish.fence import Foreign, NotStored, Stored, reconcile
from mnc.publish.ports import Batch, StreamPort
from mnc.publish.remedy import Remedies
from mnc.telemetry.tracing import UNTRACED, LaneTracer

__all__ = ["MAX_BATCH_BYTES", "MAX_BATCH_EVENTS", "PublishObserver", "Publisher"]

MAX_BATCH_EVENTS = 999
"""JetStream takes 1,000 messages in an atomic batch; the last one is the marker."""

MAX_BATCH_BYTES = 4 * 1024 * 1024
"""JetStream holds a batch in memory until its commit, so it is kept to a few megabytes."""

_RETRY = Backoff(first_s=0.05, max_s=2.0)

_MAX_ATTEMPTS = 8
"""Attempts with a live connection before the lane restarts: about six seconds of waiting."""

_REFUSED_ALONE = 3
"""How often JetStream has to refuse an event alone before something else is sent in its place."""


class PublishObserver(Protocol):
    """Hears what a publisher does."""

    def published(self, batch: Batch, /, *, ack_s: float) -> None:
        """Hear that a batch was acknowledged `ack_s` seconds after it was sent."""
        ...

    def recovered(self, events: Sequence[EncodedEvent], /) -> None:
        """Hear that events were stored whose acknowledgement never came."""
        ...

    def retrying(self, error: SinkError, /) -> None:
        """Hear that a batch has to be tried again, and why."""
        ...


class Publisher:
    """Publish one collection's events behind a fence.

    Invariants: `reached` is what the stream last confirmed; at most one batch is in flight; events
    are sent in the order in which they were given, each until the stream has confirmed it.
    """

    def __init__(
        self,
        *,
        stream: StreamPort,
        remedies: Remedies,
        marker_subject: str,
        reached: Checkpoint,
        epoch: Epoch,
        in_flight: trio.CapacityLimiter,
        observer: PublishObserver,
        rng: random.Random,
        tracer: LaneTracer = UNTRACED,
    ) -> None:
        self._stream = stream
        self._tracer = tracer
        self._remedies = remedies
        self._marker_subject = marker_subject
        self._reached = reached
        self._epoch = epoch
        self._in_flight = in_flight
        self._observer = observer
        self._rng = rng
        self._batch_limit = MAX_BATCH_EVENTS

    @property
    def reached(self) -> Checkpoint:
        """How far events are stored, and the fence for the next batch."""
        return self._reached

    async def publish(self, events: Sequence[EncodedEvent]) -> None:
        """Store `events`, at least one and at most MAX_BATCH_EVENTS; return when they are.

        Raises FenceLostError when another writer was at work; SinkError when the stream refuses, or
        when the outcome stays unclear although there is a connection.

        Cancellation: a part of the events may be stored, now or later. `reached` doesn't say so; a
        new publisher finds out from the marker.
        """
        attempt = 0
        while events:
            sent = events[: self._batch_limit]
            error = await self._attempt(sent)
            if error is None:
                events, attempt = events[len(sent) :], 0
                self._batch_limit = min(2 * self._batch_limit, MAX_BATCH_EVENTS)
                continue
            if isinstance(error, PayloadTooLargeError | SinkRefusedError):
                if len(sent) > 1:
                    # Nothing is stored: store what stands before the one that is refused.
                    self._batch_limit = len(sent) // 2
                    continue
                sent, error = await self._store_in_place(sent[0], error)
                if error is None:
                    events, attempt = events[1:], 0
                    continue
            attempt += 1
            self._observer.retrying(error)
            verdict = reconcile(self._reached, events, await self._read_marker())
            match verdict:
                case Stored():
                    stored = len(events) - len(verdict.rest)
                    self._observer.recovered((*sent, *events[len(sent) :])[:stored])
                    self._reached = verdict.reached
                    events = verdict.rest
                case NotStored():
                    if attempt >= _MAX_ATTEMPTS:
                        raise error
                    if isinstance(error, OutcomeUnknownError):
                        # It may be too much for a slow link, now and at every further attempt.
                        self._batch_limit = max(len(sent) // 2, 1)
                    await trio.sleep(_RETRY.delay_s(attempt, self._rng))
                case Foreign():
                    raise FenceLostError(
                        "another writer moved the collection's position marker"
                    ) from error
                case _:
                    assert_never(verdict)

    async def finish(self, snapshot: Snapshot) -> None:
        """Store that all documents of `snapshot` are stored; without markers nothing is stored.

        Raises SinkError when it may not be stored; then the snapshot ends once more.

        Cancellation: it may be stored.
        """
        position = Position(token=snapshot.end, epoch=self._epoch)
        batch = Batch(
            events=(),
            marker_subject=self._marker_subject,
            position=position,
            expected_seq=self._reached.stream_seq,
        )
        stream_seq = await self._stream.publish(batch)
        self._reached = Checkpoint(position=position, stream_seq=stream_seq)

    async def _store_in_place(
        self, event: EncodedEvent, error: SinkError
    ) -> tuple[Sequence[EncodedEvent], SinkError | None]:
        """Store something in the place of an event that is refused alone.

        Returns what was sent last, and like `_attempt` an error after which something can be done.
        """
        refused: SinkError | None = error
        for attempt in range(1, _REFUSED_ALONE):
            if not isinstance(refused, SinkRefusedError):
                break
            await trio.sleep(_RETRY.delay_s(attempt, self._rng))
            refused = await self._attempt((event,))
        while isinstance(refused, PayloadTooLargeError | SinkRefusedError):
            try:
                event = await self._remedies.substitute(event, refused)
            except SinkUnavailableError as unavailable:
                return (event,), unavailable
            refused = await self._attempt((event,))
        return (event,), refused

    async def _attempt(self, events: Sequence[EncodedEvent]) -> SinkError | None:
        """Send one batch; return the error after which something can still be done.

        Raises SinkRefusedError when it isn't JetStream's answer to this batch, but a permission or
        the like.
        """
        try:
            async with self._in_flight:
                sent_at = trio.current_time()
                with self._tracer.publish(events) as headers:
                    batch = Batch(
                        events=events,
                        marker_subject=self._marker_subject,
                        position=Position(
                            token=events[-1].token,
                            epoch=self._epoch,
                            snapshot=events[-1].snapshot,
                        ),
                        expected_seq=self._reached.stream_seq,
                        headers=headers,
                    )
                    stream_seq = await self._stream.publish(batch)
        except (
            DuplicateInBatchError,
            FenceLostError,
            OutcomeUnknownError,
            PayloadTooLargeError,
            SinkUnavailableError,
        ) as error:
            return error
        except SinkRefusedError as error:
            if error.code is None:
                raise
            return error
        self._reached = Checkpoint(position=batch.position, stream_seq=stream_seq)
        self._observer.published(batch, ack_s=trio.current_time() - sent_at)
        return None

    async def _read_marker(self) -> Checkpoint | None:
        """Read the marker, however long NATS can't be reached."""
        attempt = 0
        while True:
            await self._stream.wait_connected()
            try:
                return await self._stream.read_marker(self._marker_subject)
            except SinkUnavailableError as error:
                attempt += 1
                self._observer.retrying(error)
                await trio.sleep(_RETRY.delay_s(attempt, self._rng))
