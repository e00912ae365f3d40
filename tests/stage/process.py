"""A whole connector on fakes: what outlives it, what it is built of, and one run of it."""

from __future__ import annotations

import random
from collections.abc import Collection, Iterable, Mapping, Sequence

import trio
from tests.fakes.checkpoints import FakeCheckpointStore
from tests.fakes.documents import FakeDocuments
from tests.fakes.faults import Latency, one_millisecond
from tests.fakes.payloads import STOPPING
from tests.fakes.source import DATABASE, FakeSource
from tests.fakes.stream import FakeStream

from mnc.acquire import acquire
from mnc.capture.budget import ByteBudget
from mnc.capture.copier import Copier
from mnc.capture.options import CaptureOptions
from mnc.capture.reader import CaptureObserver, Detach, Merge, Reader
from mnc.capture.route import Route
from mnc.checkpoint.keeper import CheckpointKeeper
from mnc.checkpoint.position import LostHistory
from mnc.encode.event import Encoder
from mnc.encode.subject import marker_subject
from mnc.errors import MncError, PositionLostError
from mnc.lane import Lane
from mnc.model import Checkpoint, Epoch, Namespace, ResumeToken
from mnc.publish.publisher import Publisher
from mnc.supervise.policy import RestartPolicy
from mnc.supervise.supervisor import Supervisor
from mnc.telemetry.lane import LaneTelemetry
from mnc.telemetry.lanes import Lanes
from mnc.telemetry.metrics import Metrics

__all__ = ["FakeWorkshop", "Process", "World"]

_OPERATIONS = frozenset({"insert", "update", "replace", "delete"})
_STREAM = "cs"


class _StoreInDatabase(FakeCheckpointStore):
    """Token documents of the same database: each write is an entry in its oplog."""

    def __init__(self, source: FakeSource, *, latency: Latency) -> None:
        super().__init__(latency=latency)
        self.first: dict[Namespace, Checkpoint] = {}
        """Where each collection was first watched from."""
        self._source = source

    def _store(self, namespace: Namespace, checkpoint: Checkpoint) -> None:
        super()._store(namespace, checkpoint)
        self.first.setdefault(namespace, checkpoint)
        self._source.tick()


class World:
    """What outlives a process: the database, the stream and the token documents."""

    def __init__(
        self,
        *,
        source: FakeSource | None = None,
        latency: Latency = one_millisecond,
        duplicate_window_s: float = 120.0,
    ) -> None:
        self.source = source or FakeSource(latency=latency)
        self.stream = FakeStream(latency=latency, duplicate_window_s=duplicate_window_s)
        self.store = _StoreInDatabase(self.source, latency=latency)

    def write(self, *collections: str, count: int = 1) -> None:
        """Commit inserts into each of `collections`."""
        for _ in range(count):
            for name in collections:
                self.source.write(name)

    def drop_database(self) -> None:
        """Drop the database, and the token documents in it."""
        self.source.drop_database()
        self.store.drop()
        for name in list(self.store.first):
            if self.marker(name.collection) is None:
                del self.store.first[name]

    def expected(self, collection: str) -> Sequence[ResumeToken]:
        """Return the tokens of what was committed to a collection since it is watched."""
        first = self._first_marker(collection)
        if first is None:
            return []
        tokens = self.source.tokens(collection)
        return [token for token in tokens if token > first.position.token]

    def stored(self, collection: str) -> Sequence[ResumeToken]:
        """Return the tokens of a collection's events in the stream, in order."""
        prefix = f"{_STREAM}.{collection}."
        return [event.token for event in self.stream.events if event.subject.startswith(prefix)]

    def skipped(self, collection: str) -> bool:
        """Whether the stream begins later than the collection was first watched from."""
        first = self.store.first.get(Namespace(database=DATABASE, collection=collection))
        marker = self._first_marker(collection)
        if first is None or marker is None:
            return False
        return marker.position.token > first.position.token

    def marker(self, collection: str) -> Checkpoint | None:
        """Return a collection's position marker."""
        return self.stream.marker(marker_subject(stream=_STREAM, collection=collection))

    def checkpoint(self, collection: str) -> Checkpoint | None:
        """Return a collection's token document."""
        namespace = Namespace(database=DATABASE, collection=collection)
        return self.store.checkpoints.get(namespace)

    def is_exact(self, *collections: str) -> bool:
        """Whether the stream holds exactly what was committed to `collections`."""
        return all(self.stored(name) == self.expected(name) for name in collections)

    def _first_marker(self, collection: str) -> Checkpoint | None:
        return self.stream.first_markers.get(marker_subject(stream=_STREAM, collection=collection))


class FakeWorkshop:
    """Builds lanes and readers as the service does, on a world of fakes."""

    def __init__(
        self,
        world: World,
        *,
        budget_bytes: int = 10**9,
        batches_in_flight: int = 4,
        checkpoint_interval_s: float = 1.0,
        snapshot_first: bool = False,
        lost_history: LostHistory = "stop",
        rng: random.Random,
    ) -> None:
        self.budget = ByteBudget(budget_bytes)
        self.readers: list[Reader] = []
        """Every reader that was built, in order."""
        self.options: dict[str, CaptureOptions] = {}
        """What collections want of their change streams, if not the usual."""
        self.own_streams: dict[str, str] = {}
        """The streams of collections that have another one than the others."""
        self.broken: dict[str, MncError] = {}
        """What is wrong with streams from the beginning, by their names."""
        self.deaf: dict[str, MncError] = {}
        """What the lanes of streams meet that were found to be well, by their names."""
        self._world = world
        self._in_flight = trio.CapacityLimiter(batches_in_flight)
        self._checkpoint_interval_s = checkpoint_interval_s
        self.documents = FakeDocuments(world.source)
        self._snapshot_first = snapshot_first
        self._lost_history = lost_history
        self._rng = rng

    def stream(self, collection: str, /) -> str:
        """Return the only stream, unless a test says that a collection has one of its own."""
        return self.own_streams.get(collection, _STREAM)

    async def prepare(self, stream: str, failures: Collection[MncError], /) -> None:
        """Make sure of the stream."""
        del failures  # asking costs nothing here
        if stream in self.broken:
            raise self.broken[stream]
        await self._world.stream.ensure()

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
        """Acquire a collection and build its lane."""
        if (name := self.stream(collection)) in self.deaf:
            raise self.deaf[name]
        subject = marker_subject(stream=_STREAM, collection=collection)
        reached = await acquire(
            telemetry.namespace,
            marker_subject=subject,
            source=self._world.source,
            stream=self._world.stream,
            store=self._world.store,
            epoch=epoch,
            snapshot_first=self._snapshot_first,
            snapshot_now=snapshot,
            lost_history=self._lost_history if isinstance(after, PositionLostError) else "stop",
            observer=telemetry,
        )
        publisher = Publisher(
            stream=self._world.stream,
            remedies=STOPPING,
            marker_subject=subject,
            reached=reached,
            epoch=epoch,
            in_flight=self._in_flight,
            observer=telemetry,
            rng=self._rng,
        )
        keeper = CheckpointKeeper(
            store=self._world.store,
            namespace=telemetry.namespace,
            interval_s=self._checkpoint_interval_s,
            observer=telemetry,
            rng=self._rng,
        )
        route = Route(
            collection=collection,
            frontier=reached.position.token,
            account=self.budget.open_account(),
            options=self.options.get(collection, CaptureOptions()),
        )
        under_way = reached.position.snapshot
        copier = (
            None
            if under_way is None
            else Copier(
                namespace=telemetry.namespace,
                snapshot=under_way,
                documents=self.documents,
                source=self._world.source,
                encode=Encoder(stream=_STREAM),
                documents_per_s=0,
                pipeline=route.options.pipeline,
                observer=telemetry,
            )
        )
        return Lane(
            route=route, publisher=publisher, keeper=keeper, observer=telemetry, copier=copier
        )

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
        reader = Reader(
            source=self._world.source,
            encode=Encoder(stream=_STREAM),
            home=DATABASE,
            operations=lambda _: _OPERATIONS,
            routes=routes,
            observer=observer,
            merge=merge,
            detach=detach,
        )
        self.readers.append(reader)
        return reader


class Process:
    """One run of a connector over a world; cancelling `run` is its crash."""

    def __init__(
        self,
        world: World,
        *collections: str,
        epoch: int = 0,
        budget_bytes: int = 10**9,
        snapshot_first: bool = False,
        lost_history: LostHistory = "stop",
        seed: int = 0,
    ) -> None:
        rng = random.Random(seed)
        self.metrics = Metrics()
        self.released: list[tuple[str, int]] = []
        """Each collection that was released, with its epoch."""
        self.workshop = FakeWorkshop(
            world,
            budget_bytes=budget_bytes,
            snapshot_first=snapshot_first,
            lost_history=lost_history,
            rng=rng,
        )
        self._lanes = Lanes(DATABASE, self.metrics)
        self.supervisor = Supervisor(
            lanes=self._lanes,
            workshop=self.workshop,
            policy=RestartPolicy(renews_lost_positions=lost_history != "stop"),
            rng=rng,
            released=lambda name, epoch: self.released.append((name, epoch)),
        )
        self.assign(*collections, epoch=epoch)

    @property
    def lanes(self) -> Mapping[str, LaneTelemetry]:
        """What is shown of each collection."""
        return {lane.namespace.collection: lane for lane in self._lanes.current()}

    def assign(self, *collections: str, epoch: int = 0) -> None:
        """Give it `collections`, all with one epoch, and no others."""
        self.assign_epochs(dict.fromkeys(collections, epoch))

    def assign_epochs(self, wanted: Mapping[str, int]) -> None:
        """Give it the collections of `wanted`, each with its epoch, and no others."""
        self.supervisor.assign({name: Epoch(epoch) for name, epoch in wanted.items()})

    @property
    def is_ready(self) -> bool:
        """Whether every lane advances."""
        return not any(lane.not_ready_because() for lane in self.lanes.values())

    async def run(self) -> None:
        """Run until `stop`."""
        await self.supervisor.run()

    def stop(self) -> None:
        """Stop capture, and drain."""
        self.supervisor.stop()
