"""The supervisor of one database: its readers and lanes, their starts, failures and end.

Theory of operation. Lanes that are due start together as a cohort: each acquires its position, then
one reader reads for all. A lane that fails is dropped alone, while its reader goes on for the
others; a reader that fails takes its lanes along. Either way the lane is due again after a delay,
in a later cohort with a reader of its own, which hands its lanes to the oldest reader once it has
caught up. A lane that is slow goes on as it is, and has a reader of its own until then, too.
An error that time alone doesn't heal, in a reader of several lanes, may be the fault of one of
them: those lanes come back each in a cohort of its own, so that the others go on.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from functools import partial
from typing import Protocol

import trio

from mnc.capture.reader import CaptureObserver, Detach, Merge, Reader
from mnc.capture.route import Route
from mnc.errors import MncError, Recovery, SourceError
from mnc.lane import Lane
from mnc.supervise.policy import RestartPolicy
from mnc.telemetry.lane import Capturing, LaneTelemetry, Restarting, Starting, Stopped

__all__ = ["Supervisor", "Workshop"]

_COALESCE_S = 0.5
"""Lanes that are due within this time start together: one change stream instead of many."""

_MAX_READERS = 4
"""With so many readers no further lane is detached: each is a change stream for MongoDB to serve.

While the broker is away, one lane after the other would be.
"""


class Workshop(Protocol):
    """Builds what the supervisor runs; `mnc.service` provides it."""

    async def prepare(self) -> None:
        """Make sure that the stream exists and can be used. Raises SinkError."""
        ...

    async def lane(self, collection: str, telemetry: LaneTelemetry, /) -> Lane:
        """Acquire a collection and build its lane.

        Raises SourceError, SinkError or CheckpointError.
        """
        ...

    def reader(
        self,
        routes: Iterable[Route],
        /,
        *,
        observer: CaptureObserver,
        merge: Merge,
        detach: Detach,
    ) -> Reader:
        """Build a reader for `routes`."""
        ...


@dataclass(slots=True, kw_only=True)
class _Charge:
    """What the supervisor knows of one collection."""

    telemetry: LaneTelemetry
    due_at: float | None
    """When to start it, on trio's clock; None while it runs or stays down."""
    started_at: float = 0.0
    failure: MncError | None = None
    """What ended the last lane."""
    failures: Counter[Recovery] = field(default_factory=Counter)
    """How many in a row, by what heals them: a server that was away is no reason to rest long."""
    alone: bool = False
    """Whether it starts in a cohort of its own."""


class Supervisor:
    """Keep the lanes of one database running until told to stop.

    Invariants: a collection has at most one lane at a time; `readers` is in order of age.
    """

    def __init__(
        self,
        *,
        lanes: Iterable[LaneTelemetry],
        workshop: Workshop,
        policy: RestartPolicy,
        rng: random.Random,
    ) -> None:
        now = trio.current_time()
        self._charges = {
            telemetry.namespace.collection: _Charge(telemetry=telemetry, due_at=now)
            for telemetry in lanes
        }
        self._workshop = workshop
        self._policy = policy
        self._rng = rng
        self._readers: list[Reader] = []
        self._changed = trio.Event()
        self._stopping = False
        self._building: set[trio.CancelScope] = set()

    def stop(self) -> None:
        """Stop capture; `run` returns when what was captured is stored."""
        self._stopping = True
        for scope in self._building:
            scope.cancel()
        for reader in self._readers:
            reader.stop()
        self._wake()

    async def run(self) -> None:
        """Start lanes as they get due, until `stop` is called and the last lane has drained.

        Raises nothing that a lane or reader raises on purpose: those errors lead to restarts.

        Cancellation: lanes and readers are cancelled; what they were doing is found from the
        markers at the next start.
        """
        async with trio.open_nursery() as nursery:
            while not self._stopping:
                cohort = self._take_cohort()
                if cohort:
                    nursery.start_soon(self._run_cohort, nursery, cohort)
                    continue
                changed, wake_at = self._changed, self._next_due_at()
                with trio.move_on_at(wake_at):
                    await changed.wait()

    # --- cohorts -----------------------------------------------------------------------------

    def _next_due_at(self) -> float:
        due = [charge.due_at for charge in self._charges.values() if charge.due_at is not None]
        return min(due, default=float("inf"))

    def _take_cohort(self) -> list[str]:
        """Choose the collections to start now, if any is due, and mark them as running."""
        now = trio.current_time()
        if self._next_due_at() > now:
            return []
        due = [
            name
            for name, charge in self._charges.items()
            if charge.due_at is not None and charge.due_at <= now + _COALESCE_S
        ]
        alone = [name for name in due if self._charges[name].alone]
        cohort = alone[:1] or due
        for name in cohort:
            charge = self._charges[name]
            charge.due_at, charge.started_at, charge.alone = None, now, False
            charge.telemetry.enter(Starting(after=charge.failure))
        return cohort

    async def _run_cohort(self, nursery: trio.Nursery, cohort: Collection[str]) -> None:
        lanes: list[Lane] = []
        with trio.CancelScope() as scope:
            self._building.add(scope)
            if not self._stopping:
                lanes = await self._build(cohort)
        self._building.discard(scope)
        # A call in a thread may have ended the building in spite of its cancellation.
        if self._stopping or not lanes:
            return
        for lane in lanes:
            nursery.start_soon(self._run_lane, lane)
        await self._run_reader(self._add_reader(nursery, [lane.route for lane in lanes]))

    async def _build(self, cohort: Collection[str]) -> list[Lane]:
        try:
            await self._workshop.prepare()
        except MncError as error:
            for name in cohort:
                self._failed(name, error)
            return []
        lanes: list[Lane] = []
        unreachable: MncError | None = None
        for name in cohort:
            if unreachable is not None:
                # Asking again for each of a hundred collections would take minutes.
                self._failed(name, unreachable)
                continue
            try:
                lanes.append(await self._workshop.lane(name, self._charges[name].telemetry))
            except MncError as error:
                self._failed(name, error)
                if error.recovery is Recovery.RECONNECT:
                    unreachable = error  # what one collection met, the others would
        return lanes

    # --- readers -----------------------------------------------------------------------------

    def _add_reader(self, nursery: trio.Nursery, routes: Iterable[Route]) -> Reader:
        reader = self._workshop.reader(
            routes, observer=self, merge=self._merge, detach=partial(self._detach, nursery)
        )
        self._readers.append(reader)
        return reader

    async def _run_reader(self, reader: Reader) -> None:
        failure: SourceError | None = None
        try:
            await reader.run()
        except SourceError as error:
            failure = error
        finally:
            self._readers.remove(reader)
        for route in reader.routes:
            if failure is not None and failure.recovery in (Recovery.WAIT, Recovery.STOP):
                self._charges[route.collection].alone = len(reader.routes) > 1
            route.end(failure)

    def _merge(self, reader: Reader) -> bool:
        oldest = self._readers[0]
        return oldest is not reader and oldest.offer(reader)

    def _detach(self, nursery: trio.Nursery, route: Route) -> bool:
        if self._stopping or len(self._readers) >= _MAX_READERS:
            return False
        # At once, not in the task: `stop` has to find it.
        reader = self._add_reader(nursery, [route])
        nursery.start_soon(self._run_reader, reader)
        self._charges[route.collection].telemetry.detached()
        return True

    def opened(self, collections: Collection[str], /) -> None:
        """Note that changes of `collections` are being captured."""
        for name in collections:
            if not isinstance(self._charges[name].telemetry.state, Capturing):
                self._charges[name].telemetry.enter(Capturing())

    def captured(self, collection: str, events: int, /) -> None:
        """Count captured events."""
        self._charges[collection].telemetry.captured(events)

    def waited(self, collection: str, seconds: float, /) -> None:
        """Add up how long a collection's lane was waited for."""
        self._charges[collection].telemetry.waited(seconds)

    # --- lanes -------------------------------------------------------------------------------

    async def _run_lane(self, lane: Lane) -> None:
        name = lane.route.collection
        try:
            await lane.run()
        except MncError as error:
            self._failed(name, error)
        else:
            self._charges[name].telemetry.enter(Stopped(error=None))
        finally:
            lane.route.close()

    def _failed(self, name: str, error: MncError) -> None:
        """Decide when a collection starts again."""
        charge = self._charges[name]
        charge.failure = error
        now = trio.current_time()
        attempt = self._policy.attempt(
            error, previous=charge.failures[error.recovery], ran_s=now - charge.started_at
        )
        charge.failures[error.recovery] = attempt
        # A lane that stops for good only because it shared a reader gets a try of its own.
        delay_s = (
            self._policy.backoff.delay_s(1, self._rng)
            if charge.alone
            else self._policy.delay_s(error, attempt=attempt, rng=self._rng)
        )
        if delay_s is None or self._stopping:
            charge.telemetry.enter(Stopped(error=error))
            return
        charge.due_at = now + delay_s
        charge.telemetry.enter(Restarting(error=error, retry_at=charge.due_at))
        self._wake()

    def _wake(self) -> None:
        self._changed.set()
        self._changed = trio.Event()
