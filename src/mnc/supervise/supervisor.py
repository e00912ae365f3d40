"""The supervisor: readers and lanes, their starts, failures and end.

Theory of operation. `assign` says which collections are ours, each with an epoch. Lanes that are
due start together as a cohort: each acquires its position, then one reader reads for all whose
change streams show the same (`CaptureOptions`), so each database has one at least. A lane
that fails is dropped alone, while its reader goes on for the others; a reader that fails takes its
lanes along. Either way the lane is due again after a delay, in a later cohort with a reader of its
own, which hands its lanes to the oldest reader once it has caught up. A lane that is slow goes on
as it is, and has a reader of its own until then, too.
An error that time alone doesn't heal, in a reader of several lanes, may be the fault of one of
them: those lanes come back each in a cohort of its own, so that the others go on.
A collection that isn't ours any more, or is ours with another epoch, is *withdrawn*: its capture
ends at once, its lane stores what was captured, and then it is released.
"""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from functools import partial
from typing import Protocol, assert_never

import trio

from mnc.capture.completeness import Lack
from mnc.capture.options import CaptureOptions
from mnc.capture.reader import CaptureObserver, Detach, Merge, Reader
from mnc.capture.route import Route
from mnc.errors import MncError, Recovery, SinkError, SourceError
from mnc.lane import Lane
from mnc.model import Epoch
from mnc.supervise.charge import Acquiring, Charge, Down, Preparing, Running, Waiting
from mnc.supervise.policy import RestartPolicy
from mnc.telemetry.lane import Capturing, Draining, LaneTelemetry, Restarting, Starting, Stopped
from mnc.telemetry.lanes import Lanes

__all__ = ["Supervisor", "Workshop"]

_COALESCE_S = 0.5
"""Lanes that are due within this time start together: one change stream instead of many."""

_MAX_READERS = 4
"""With so many readers alike no further lane is detached: each costs MongoDB a change stream.

While the broker is away, one lane after the other would be.
"""

_MAX_ACQUIRING = 8
"""How many positions are looked for at once: more is no faster, for this process is what limits it.

So many collections ask a server that doesn't answer, before the others of the cohort give up, too.
"""

_DRAIN_S = 5.0
"""How long a withdrawn collection may take to store what was captured.

Cut off, nothing is lost: the next owner reads it again, which delays its own start by less.
"""


class Workshop(Protocol):
    """Builds what the supervisor runs; `mnc.service` provides it."""

    def stream(self, collection: str, /) -> str:
        """Return the name of the stream that a collection goes to."""
        ...

    async def prepare(self, stream: str, failures: Collection[MncError], /) -> None:
        """Make sure that a stream exists and can be used. Raises SinkError.

        `failures` are what ended the lanes that start again now: what they call in doubt is looked
        at, and what is known to be good is not.
        """
        ...

    async def lane(
        self,
        collection: str,
        epoch: Epoch,
        telemetry: LaneTelemetry,
        /,
        *,
        after: MncError | None,
        snapshot: bool,
    ) -> Lane:
        """Acquire a collection and build its lane; `after` is what ended the last one.

        With `snapshot` it begins with one.

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
        """Build a reader for `routes`, which have the same options."""
        ...


class Supervisor:
    """Keep the lanes of the collections that are assigned running until told to stop.

    Invariants: a collection has at most one lane at a time; `readers` is in order of age; a
    collection whose route is open is in `charges`; those in `leaving` were withdrawn, and what they
    do has not ended yet.
    """

    def __init__(
        self,
        *,
        lanes: Lanes,
        workshop: Workshop,
        policy: RestartPolicy,
        rng: random.Random,
        released: Callable[[str, Epoch], None],
    ) -> None:
        """Make one without collections.

        `released` hears once of each collection and epoch that were assigned and are no longer,
        when nothing is done for them any more. It is called by `assign` and `stop`, too, and must
        not call them.
        """
        self._lanes = lanes
        self._workshop = workshop
        self._policy = policy
        self._rng = rng
        self._released = released
        self._charges: dict[str, Charge] = {}
        self._leaving: dict[str, Charge] = {}
        self._readers: list[Reader] = []
        self._changed = trio.Event()
        self._stopping = False
        self._preparing = trio.CancelScope()

    def assign(self, wanted: Mapping[str, Epoch]) -> None:
        """Run the lanes of `wanted` and no others; never waits.

        New collections start at once, in one cohort. Others are withdrawn: their capture ends, what
        was captured is stored within five seconds or left to the next owner, and they are released.
        One whose epoch has changed is withdrawn, and starts again when that is over. After `stop`
        nothing changes any more.
        """
        if self._stopping:
            return
        now = trio.current_time()
        for charge in list(self._charges.values()):
            if wanted.get(charge.collection) != charge.epoch:
                self._withdraw(charge, drain_until=now + _DRAIN_S)
        for name, epoch in wanted.items():
            if name not in self._charges:
                self._charges[name] = Charge(
                    collection=name,
                    epoch=epoch,
                    telemetry=self._lanes.open(name),
                    work=Waiting(now),
                )
        for reader in self._readers:
            reader.narrow()
        self._wake()

    def take_snapshot(self, collection: str) -> None:
        """Have a snapshot taken of a collection that is assigned, unless one is under way.

        Its lane stores what was captured, and starts again with the snapshot.
        """
        charge = self._charges.get(collection)
        if charge is None:
            return
        if isinstance(charge.work, Running):
            if charge.work.copies:
                return
            charge.work.route.end()
            for reader in self._readers:
                reader.narrow()
        charge.wants_snapshot = True

    def stop(self) -> None:
        """Withdraw all collections; `run` returns when what was captured is stored."""
        self._stopping = True
        self._preparing.cancel()
        for charge in list(self._charges.values()):
            self._withdraw(charge, drain_until=float("inf"))
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
                if cohort := self._take_cohort():
                    if ready := await self._prepare(cohort):
                        nursery.start_soon(self._run_cohort, nursery, ready)
                    continue
                changed, wake_at = self._changed, self._next_due_at()
                with trio.move_on_at(wake_at):
                    await changed.wait()

    # --- assignment --------------------------------------------------------------------------

    def _withdraw(self, charge: Charge, *, drain_until: float) -> None:
        """End what is done for a collection; it is released when that has ended."""
        del self._charges[charge.collection]
        match charge.work:
            case Waiting() | Preparing() | Down():
                self._let_go(charge)
            case Acquiring(scope=scope):
                self._leaving[charge.collection] = charge
                scope.cancel()
            case Running(route=route, scope=scope):
                self._leaving[charge.collection] = charge
                charge.telemetry.enter(Draining())
                route.end()
                scope.deadline = drain_until
            case _:
                assert_never(charge.work)

    def _ended(self, charge: Charge) -> None:
        """Note that nothing is done for a collection at the moment."""
        if self._leaving.get(charge.collection) is charge:
            del self._leaving[charge.collection]
            self._let_go(charge)

    def _let_go(self, charge: Charge) -> None:
        name = charge.collection
        # At the process's end, and for another charge of the collection, its state is shown on.
        if not (self._stopping or name in self._charges or name in self._leaving):
            self._lanes.close(name)
        self._released(name, charge.epoch)
        self._wake()

    # --- cohorts -----------------------------------------------------------------------------

    def _due(self) -> Iterable[tuple[float, Charge]]:
        """Return when to start what waits, but for a collection that has a lane still."""
        return (
            (charge.work.due_at, charge)
            for charge in self._charges.values()
            if isinstance(charge.work, Waiting) and charge.collection not in self._leaving
        )

    def _next_due_at(self) -> float:
        return min((due_at for due_at, _ in self._due()), default=float("inf"))

    def _take_cohort(self) -> Sequence[Charge]:
        """Choose the collections to start now, if any is due, and mark them so."""
        now = trio.current_time()
        if self._next_due_at() > now:
            return []
        due = [charge for due_at, charge in self._due() if due_at <= now + _COALESCE_S]
        alone = [charge for charge in due if charge.alone]
        cohort = alone[:1] or due
        for charge in cohort:
            charge.work, charge.started_at, charge.alone = Preparing(), now, False
            charge.telemetry.enter(Starting(after=charge.failure))
        return cohort

    async def _prepare(self, cohort: Iterable[Charge]) -> Sequence[Charge]:
        """Make the streams of a cohort ready; return the collections whose stream is."""
        charges_of = defaultdict[str, list[Charge]](list)
        for charge in cohort:
            charges_of[self._workshop.stream(charge.collection)].append(charge)
        ready: list[Charge] = []

        async def prepare(stream: str, charges: Sequence[Charge]) -> None:
            failures = [charge.failure for charge in charges if charge.failure is not None]
            try:
                await self._workshop.prepare(stream, failures)
            except MncError as error:
                for charge in filter(self._is_ours, charges):
                    self._failed(charge, error)
            else:
                ready.extend(charges)

        with trio.CancelScope() as self._preparing:
            async with trio.open_nursery() as preparing:
                for stream, charges in charges_of.items():
                    preparing.start_soon(prepare, stream, charges)
        return ready

    async def _run_cohort(self, nursery: trio.Nursery, cohort: Iterable[Charge]) -> None:
        groups = defaultdict[CaptureOptions, list[Route]](list)
        for route in await self._acquire(nursery, cohort):
            if route.is_open:
                groups[route.options].append(route)
        for routes in groups.values():
            nursery.start_soon(self._run_reader, self._add_reader(nursery, routes))

    async def _acquire(self, nursery: trio.Nursery, cohort: Iterable[Charge]) -> Sequence[Route]:
        """Start the lanes of a cohort, as far as it is ours still; return their routes."""
        limiter = trio.CapacityLimiter(_MAX_ACQUIRING)
        unreachable: dict[str, MncError] = {}
        """What was met, by the name of the stream."""
        routes: list[Route] = []

        async def acquire(charge: Charge, scope: trio.CancelScope) -> None:
            stream = self._workshop.stream(charge.collection)
            lane: Lane | None = None
            try:
                with scope:
                    async with limiter:
                        if stream in unreachable:
                            # Asking again for each of a hundred collections would take minutes.
                            raise unreachable[stream]
                        lane = await self._workshop.lane(
                            charge.collection,
                            charge.epoch,
                            charge.telemetry,
                            after=charge.failure,
                            snapshot=charge.wants_snapshot,
                        )
            except MncError as error:
                if error.recovery is Recovery.RECONNECT:
                    unreachable[stream] = error  # what one collection met, the others would
                self._failed(charge, error)
            # A call in a thread may have ended the building in spite of its cancellation.
            if lane is not None and self._is_ours(charge):
                charge.work = Running(lane.route, copies=lane.copier is not None)
                nursery.start_soon(self._run_lane, charge, charge.work.scope, lane)
                if lane.copier is None:
                    routes.append(lane.route)
                else:
                    charge.wants_snapshot = False
            else:
                self._ended(charge)

        async with trio.open_nursery() as acquiring:
            for charge in filter(self._is_ours, cohort):
                charge.work = Acquiring()
                acquiring.start_soon(acquire, charge, charge.work.scope)
        return routes

    def _is_ours(self, charge: Charge) -> bool:
        return self._charges.get(charge.collection) is charge

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
        routes = [route for route in reader.routes if route.is_open]
        for route in routes:
            if failure is not None and failure.recovery in (Recovery.WAIT, Recovery.STOP):
                self._charges[route.collection].alone = len(routes) > 1
            route.end(failure)

    def _merge(self, reader: Reader) -> bool:
        oldest = self._alike(reader.options)[0]
        return oldest is not reader and oldest.offer(reader)

    def _alike(self, options: CaptureOptions) -> Sequence[Reader]:
        """Return the readers whose change streams show the same, in order of age."""
        return [reader for reader in self._readers if reader.options == options]

    def _detach(self, nursery: trio.Nursery, route: Route) -> bool:
        if self._stopping or len(self._alike(route.options)) >= _MAX_READERS:
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

    def lacked(self, collection: str, lack: Lack, events: int, /) -> None:
        """Count captured events that lack a document."""
        self._charges[collection].telemetry.lacked(lack.field, lack.reason, events)

    def waited(self, collection: str, seconds: float, /) -> None:
        """Add up how long a collection's lane was waited for."""
        self._charges[collection].telemetry.waited(seconds)

    # --- lanes -------------------------------------------------------------------------------

    async def _run_lane(self, charge: Charge, scope: trio.CancelScope, lane: Lane) -> None:
        try:
            with scope:
                await lane.run()
        except MncError as error:
            self._failed(charge, error)
        else:
            if self._is_ours(charge) and (lane.is_copied or charge.wants_snapshot):
                # After a snapshot the change stream goes on where that began; and before one it
                # ends where that begins.
                charge.work, charge.failure = Waiting(trio.current_time()), None
                self._wake()
                return
            late = SinkError(
                f"what was captured could not be stored within {_DRAIN_S:.0f} s",
                remedy="nothing is lost: the next owner goes on from the position marker",
            )
            charge.telemetry.enter(Stopped(error=late if scope.cancelled_caught else None))
        finally:
            lane.route.close()
        self._ended(charge)

    def _failed(self, charge: Charge, error: MncError) -> None:
        """Decide when a collection starts again."""
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
        if delay_s is None or not self._is_ours(charge):
            charge.work = Down()
            charge.telemetry.enter(Stopped(error=error))
            return
        charge.work = Waiting(now + delay_s)
        charge.telemetry.enter(Restarting(error=error, retry_at=charge.work.due_at))
        self._wake()

    def _wake(self) -> None:
        self._changed.set()
        self._changed = trio.Event()
