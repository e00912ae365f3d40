"""The keeper of one collection's checkpoint: the newest position, written behind the publishing.

Theory of operation. `advance` only notes a position; `run` writes the newest noted one, one write
at a time and no more often than the interval, and tries again when a write fails. A checkpoint may
lag and may fail for hours: the stream's position marker is what correctness rests on. It is written
AFTER the acknowledgement, never before.
"""

from __future__ import annotations

import random
from typing import Protocol

import trio

from mnc.backoff import Backoff
from mnc.checkpoint.ports import CheckpointStore
from mnc.errors import CheckpointError
from mnc.model import Checkpoint, Namespace
from mnc.telemetry.tracing import UNTRACED, LaneTracer

__all__ = ["CheckpointKeeper", "CheckpointObserver"]

_RETRY = Backoff(first_s=0.2, max_s=10.0)


class CheckpointObserver(Protocol):
    """Hears what a keeper does."""

    def checkpointed(self, checkpoint: Checkpoint, /) -> None:
        """Hear that a checkpoint is durable."""
        ...

    def checkpoint_failed(self, error: CheckpointError, /) -> None:
        """Hear that a write failed; it will be tried again."""
        ...


class CheckpointKeeper:
    """Write the newest position of one collection behind its publishing.

    Invariants: at most one write is waited for; what is written was noted by `advance`, in order,
    maybe with gaps.
    """

    def __init__(
        self,
        *,
        store: CheckpointStore,
        namespace: Namespace,
        interval_s: float,
        observer: CheckpointObserver,
        rng: random.Random,
        tracer: LaneTracer = UNTRACED,
    ) -> None:
        self._store = store
        self._tracer = tracer
        self._namespace = namespace
        self._newest: Checkpoint | None = None
        self._stored: Checkpoint | None = None
        self._interval_s = interval_s
        self._observer = observer
        self._rng = rng
        self._advanced = trio.Event()

    def advance(self, checkpoint: Checkpoint) -> None:
        """Note that a position has been reached; never waits."""
        self._newest = checkpoint
        self._advanced.set()

    async def run(self) -> None:
        """Write what is noted, until cancelled.

        Cancellation: the newest position may not be written; `flush` does that.
        """
        attempt = 0
        while True:
            await self._advanced.wait()
            self._advanced = trio.Event()
            try:
                await self.flush()
            except CheckpointError as error:
                attempt += 1
                self._advanced.set()
                self._observer.checkpoint_failed(error)
                await trio.sleep(_RETRY.delay_s(attempt, self._rng))
            else:
                attempt = 0
                await trio.sleep(self._interval_s)

    async def flush(self) -> None:
        """Write the newest position if it isn't written yet. Not while `run` runs.

        Raises CheckpointError.

        Cancellation: the write may still happen.
        """
        newest = self._newest
        if newest is None or newest == self._stored:
            return
        with self._tracer.checkpoint():
            await self._store.save(self._namespace, newest)
        self._stored = newest
        self._observer.checkpointed(newest)
