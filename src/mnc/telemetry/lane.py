"""What one lane tells the world: its state, its counts, its log lines."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from operator import attrgetter
from typing import Protocol, assert_never

import structlog
import trio

from mnc.errors import MncError, Recovery, SinkError
from mnc.model import Checkpoint, EncodedEvent, Namespace, Position, Snapshot, StoredOperation
from mnc.telemetry.metrics import Metrics
from mnc.telemetry.renewal import log_renewed

__all__ = [
    "Capturing",
    "Copying",
    "Draining",
    "LaneState",
    "LaneTelemetry",
    "Restarting",
    "Starting",
    "Stopped",
]

STALLED_AFTER_S = 5.0
"""Publishing that is in trouble for this long makes the instance not ready.

It is longer than a broker's restart or a leader election usually takes.
"""


_PROGRESS_S = 10.0
"""How often a snapshot says in the log how far it is."""


@dataclass(frozen=True, slots=True)
class Starting:
    """The lane looks for its position, or its change stream is being opened."""

    after: MncError | None = None
    """What ended its predecessor, if it did not simply start."""


@dataclass(frozen=True, slots=True)
class Capturing:
    """The change stream is open."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Copying:
    """A snapshot is being taken, before the change stream is opened."""

    documents: int
    """How many have been read."""
    estimated: int


@dataclass(frozen=True, slots=True)
class Draining:
    """Capture has ended, and what was captured is being stored."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Restarting:
    """The lane failed and will be started again."""

    error: MncError
    retry_at: float
    """On the clock of trio.current_time()."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stopped:
    """The lane is down: with the error that ended it, or because it was told to end."""

    error: MncError | None


LaneState = Starting | Capturing | Copying | Draining | Restarting | Stopped


@dataclass(frozen=True, slots=True, kw_only=True)
class _Trouble:
    """Publishing is in trouble, from `since` until something is stored or nothing is left to."""

    error: MncError
    since: float
    """On the clock of trio.current_time()."""
    ended_a_lane: bool = False

    def is_serious(self, now: float) -> bool:
        """Whether the instance isn't ready for it."""
        return self.ended_a_lane or now - self.since > STALLED_AFTER_S


class StoredBatch(Protocol):
    """What this module reads of a published batch."""

    @property
    def events(self) -> Sequence[EncodedEvent]:
        """The events, in order."""
        ...

    @property
    def size_bytes(self) -> int:
        """Payload bytes."""
        ...


class LaneTelemetry:
    """Collects what a lane, its publisher, its reader and its keeper report."""

    def __init__(self, namespace: Namespace, metrics: Metrics) -> None:
        self.namespace = namespace
        self._metrics = metrics
        self._labels = labels = (namespace.database, namespace.collection)
        self._captured = metrics.captured.labels(*labels)
        self._capture_waits = metrics.capture_waits.labels(*labels)
        self._detachments = metrics.detachments.labels(*labels)
        self._published_bytes = metrics.published_bytes.labels(*labels)
        self._recovered = metrics.recovered.labels(*labels)
        self._checkpoints = metrics.checkpoints.labels(*labels)
        self._checkpointed = metrics.checkpointed.labels(*labels)
        self._ack_seconds = metrics.ack_seconds.labels(*labels)
        self._lag_seconds = metrics.lag_seconds.labels(*labels)
        self._renewed = metrics.positions_renewed.labels(*labels)
        self._restarts = metrics.restarts.labels(*labels)
        self._capturing = metrics.capturing.labels(*labels)
        self._snapshot_gauges = (
            metrics.snapshot_documents.labels(*labels),
            metrics.snapshot_estimated_documents.labels(*labels),
        )
        self._next_progress_at = 0.0
        self._log = structlog.get_logger().bind(collection=str(namespace))
        self._state: LaneState = Starting()
        self._logged_failure = ""
        self._trouble: _Trouble | None = None
        self._checkpoint_trouble: MncError | None = None
        self._counts: Counter[str] = Counter()
        self._uncheckpointed = 0
        self._lag_s: float | None = None

    @property
    def state(self) -> LaneState:
        """What the lane is doing now."""
        return self._state

    def enter(self, state: LaneState) -> None:
        """Note a new state, and log what an operator should know of it."""
        self._state = state
        self._capturing.set(1 if isinstance(state, Capturing) else 0)
        match state:
            case Starting():
                pass  # trouble lasts until something is stored, however often a lane starts anew
            case Capturing():
                self._logged_failure = ""
                self._log.info("capture.opened")
            case Copying():
                pass  # how far it is is logged now and then
            case Draining():
                self._log.info("capture.ended")
            case Restarting(error=error, retry_at=retry_at):
                self._restarts.inc()
                self._count_error(error)
                if isinstance(error, SinkError):
                    since = self._trouble.since if self._trouble else trio.current_time()
                    self._trouble = _Trouble(error=error, since=since, ended_a_lane=True)
                # Once for each reason: a server that is away for a day must not fill the log.
                is_new = str(error) != self._logged_failure
                self._logged_failure = str(error)
                (self._log.warning if is_new else self._log.debug)(
                    "lane.failed",
                    kind=error.kind,
                    error=str(error),
                    retry_in_s=round(retry_at - trio.current_time(), 2),
                )
            case Stopped(error=error):
                if error is None:
                    self._log.info("lane.stopped")
                else:
                    self._count_error(error)
                    for_good = error.recovery is Recovery.STOP
                    (self._log.error if for_good else self._log.warning)(
                        "lane.stopped", kind=error.kind, error=str(error)
                    )
            case _:
                assert_never(state)

    def acquired(self, checkpoint: Checkpoint) -> None:
        """Note where the collection goes on: what this owner stores stands behind that."""
        self._log.info(
            "lane.acquired", epoch=checkpoint.position.epoch, stream_seq=checkpoint.stream_seq
        )

    def renewed(self, *, lost: Position, found: Position) -> None:
        """Note that changes were skipped which MongoDB has forgotten."""
        self._renewed.inc()
        log_renewed(self._log, lost=lost.token, found=found.token)

    def copying(self, snapshot: Snapshot, /, *, estimated: int) -> None:
        """Note that a snapshot begins, or goes on after a restart."""
        state = Copying(documents=snapshot.documents, estimated=estimated)
        self._log.info("snapshot.began", **self._progress(state))
        self._enter_copying(state)

    def copied(self, snapshot: Snapshot, /) -> None:
        """Note how far a snapshot is."""
        if not isinstance(self._state, Copying):
            return  # it drains
        state = replace(self._state, documents=snapshot.documents)
        if trio.current_time() >= self._next_progress_at:
            self._log.info("snapshot.progressed", **self._progress(state))
        self._enter_copying(state)

    def copy_completed(self, snapshot: Snapshot, /) -> None:
        """Note that all documents are stored."""
        self._log.info("snapshot.completed", documents=snapshot.documents)
        for gauge in self._snapshot_gauges:
            gauge.set(0)

    def _enter_copying(self, state: Copying) -> None:
        self._state = state
        for gauge, count in zip(
            self._snapshot_gauges, (state.documents, state.estimated), strict=True
        ):
            gauge.set(count)

    def _progress(self, state: Copying) -> Mapping[str, int]:
        """Return what the log says now; the next time is due after a while."""
        self._next_progress_at = trio.current_time() + _PROGRESS_S
        return {"documents": state.documents, "estimated": state.estimated}

    def captured(self, events: int) -> None:
        """Count events read from MongoDB."""
        self._captured.inc(events)
        self._counts["captured"] += events

    def lacked(self, field: str, reason: str, events: int) -> None:
        """Count captured events that lack `field`, a document that they were meant to hold."""
        self._metrics.incomplete.labels(*self._labels, field, reason).inc(events)

    def waited(self, seconds: float) -> None:
        """Add up how long captured events waited for room."""
        self._capture_waits.inc(seconds)

    def detached(self) -> None:
        """Note that the collection held up others, and is read for apart from now on."""
        self._detachments.inc()
        self._log.warning("capture.detached")

    def watch_inflight(self, held_bytes: Callable[[], float]) -> None:
        """Show what the lane holds of the byte budget whenever the metrics are read."""
        self._metrics.lane_inflight_bytes.labels(*self._labels).set_function(held_bytes)

    def published(self, batch: StoredBatch, /, *, ack_s: float) -> None:
        """Count a batch that was acknowledged after `ack_s` seconds."""
        self._trouble = None
        self._count_stored(batch.events)
        self._ack_seconds.observe(ack_s)
        self._metrics.batch_events.observe(len(batch.events))
        self._metrics.batch_bytes.observe(batch.size_bytes)
        self._lag_s = max(time.time() - batch.events[0].committed_at_s, 0.0)
        self._lag_seconds.observe(self._lag_s)

    def recovered(self, events: Sequence[EncodedEvent], /) -> None:
        """Count events that were found stored although no acknowledgement came."""
        self._trouble = None
        self._count_stored(events)
        self._recovered.inc(len(events))
        self._log.info("publish.recovered", events=len(events))

    def retrying(self, error: MncError, /) -> None:
        """Note that publishing is in trouble that may heal in place."""
        self._count_error(error)
        previous = self._trouble
        since = previous.since if previous else trio.current_time()
        ended_a_lane = previous is not None and previous.ended_a_lane
        self._trouble = _Trouble(error=error, since=since, ended_a_lane=ended_a_lane)
        if previous is None or str(error) != str(previous.error):
            self._log.warning("publish.retrying", kind=error.kind, error=str(error))

    def settled(self) -> None:
        """Note that everything captured is stored: earlier trouble is over."""
        self._trouble = None

    def checkpointed(self, checkpoint: Checkpoint, /) -> None:
        """Count a token document that was written."""
        del checkpoint  # a position is never shown
        if self._checkpoint_trouble is not None:
            self._checkpoint_trouble = None
            self._log.info("checkpoint.recovered")
        self._checkpoints.inc()
        self._checkpointed.inc(self._uncheckpointed)
        self._counts["checkpointed"] += self._uncheckpointed
        self._uncheckpointed = 0

    def checkpoint_failed(self, error: MncError, /) -> None:
        """Note that a token document can't be written; publishing goes on."""
        self._count_error(error)
        if self._checkpoint_trouble is None:
            self._checkpoint_trouble = error
            self._log.warning("checkpoint.failing", kind=error.kind, error=str(error))

    def not_ready_because(self) -> str | None:
        """Say in a sentence why the collection doesn't advance, or None."""
        now = trio.current_time()
        name = str(self.namespace)
        match self._state:
            case Starting(after=error):
                again = "" if error is None else f" again, after: {error}"
                return f"{name} is starting{again}"
            case Restarting(error=error, retry_at=retry_at):
                return f"{name} failed, next try in {max(retry_at - now, 0):.1f} s: {error}"
            case Stopped(error=error):
                why = "" if error is None else f": {error}"
                return f"{name} is stopped{why}"
            case Capturing() | Copying() | Draining():
                if self._trouble is None or not self._trouble.is_serious(now):
                    return None
                lasted_s = now - self._trouble.since
                error = self._trouble.error
                return f"{name} has not been able to publish for {lasted_s:.0f} s: {error}"
            case _:
                assert_never(self._state)

    def close(self) -> None:
        """Take the gauges out of the metrics: what they say isn't this instance's to say now."""
        metrics = self._metrics
        for gauge in (
            metrics.capturing,
            metrics.lane_inflight_bytes,
            metrics.snapshot_documents,
            metrics.snapshot_estimated_documents,
        ):
            gauge.remove(*self._labels)

    def snapshot(self) -> dict[str, object]:
        """Return what `/status` shows of this collection."""
        shown: dict[str, object] = {
            "collection": str(self.namespace),
            "state": type(self._state).__name__.lower(),
            "reason": self.not_ready_because(),
            "events_captured": self._counts["captured"],
            "events_published": self._counts["published"],
            "events_checkpointed": self._counts["checkpointed"],
            "events_dead_lettered": self._counts["dead_lettered"],
            "lag_s": self._lag_s if self._lag_s is None else round(self._lag_s, 4),
        }
        if isinstance(self._state, Copying):
            shown["snapshot"] = asdict(self._state)
        if self._checkpoint_trouble is not None:
            shown["checkpoint_error"] = str(self._checkpoint_trouble)
        return shown

    def _count_stored(self, events: Sequence[EncodedEvent]) -> None:
        for operation, count in Counter(map(attrgetter("operation"), events)).items():
            self._metrics.published.labels(*self._labels, operation).inc(count)
        self._published_bytes.inc(sum(map(len, map(attrgetter("payload"), events))))
        self._counts["published"] += len(events)
        self._uncheckpointed += len(events)
        for event in events:
            if event.dead_letter is not None:
                self._count_dead_letter(event.operation, event.dead_letter)

    def _count_dead_letter(self, operation: StoredOperation, cause: MncError) -> None:
        self._metrics.dead_lettered.labels(*self._labels, cause.kind).inc()
        self._counts["dead_lettered"] += 1
        self._log.error(
            "publish.dead_lettered", operation=operation, kind=cause.kind, error=cause.message
        )

    def _count_error(self, error: MncError) -> None:
        self._metrics.errors.labels(*self._labels, error.kind).inc()
