"""What the settings say of lanes and readers: which drivers, which policies."""

from __future__ import annotations

import random
from collections.abc import Collection, Iterable, Mapping

import trio

from mnc.acquire import acquire
from mnc.capture.budget import ByteBudget
from mnc.capture.copier import Copier
from mnc.capture.options import CaptureOptions
from mnc.capture.reader import CaptureObserver, Detach, Merge, Reader
from mnc.capture.route import Route
from mnc.checkpoint.keeper import CheckpointKeeper
from mnc.checkpoint.position import LostHistory
from mnc.config import Settings
from mnc.drivers.mongo.changes import MongoChangeSource
from mnc.drivers.mongo.checkpoints import MongoCheckpointStore
from mnc.drivers.mongo.connection import MongoConnection
from mnc.drivers.mongo.documents import MongoDocuments
from mnc.drivers.mongo.requests import MongoSnapshotRequests
from mnc.drivers.nats.session import NatsSession
from mnc.drivers.nats.stream import JetStream
from mnc.encode.subject import marker_subject
from mnc.errors import MncError, PositionLostError
from mnc.lane import Lane
from mnc.model import Epoch, Snapshot
from mnc.publish.publisher import Publisher
from mnc.service.policies import Policies
from mnc.telemetry.lane import LaneTelemetry
from mnc.telemetry.tracing import Tracing

__all__ = ["SettingsWorkshop", "lost_history"]


class SettingsWorkshop:
    """Builds lanes and readers from the settings and the drivers."""

    def __init__(
        self,
        settings: Settings,
        *,
        mongo: MongoConnection,
        streams: Mapping[str, JetStream],
        session: NatsSession,
        budget: ByteBudget,
        store: MongoCheckpointStore,
        requests: MongoSnapshotRequests,
        tracing: Tracing,
    ) -> None:
        """Publish to `streams`, which are there by their names."""
        self._requests = requests
        self._settings = settings
        self._tracing = tracing
        self._streams = streams
        self._policies = Policies(settings, session)
        self._budget = budget
        self._mongo = mongo
        self._documents = MongoDocuments(mongo)
        self._store = store
        # Each stream has its own: one that doesn't answer would take those of the others.
        self._in_flight = {
            name: trio.CapacityLimiter(settings.publish_max_inflight_batches) for name in streams
        }
        self._rng = random.Random()  # noqa: S311 - jitter, no secret

    def stream(self, collection: str, /) -> str:
        """See `Workshop.stream`."""
        return self._policies.stream(collection)

    async def prepare(self, stream: str, failures: Collection[MncError], /) -> None:
        """See `Workshop.prepare`."""
        await self._streams[stream].prepare(failures)

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
        """See `Workshop.lane`."""
        options = self._policies.options(collection)
        name = self._policies.stream(collection)
        stream, subject = self._streams[name], marker_subject(stream=name, collection=collection)
        reached = await acquire(
            telemetry.namespace,
            marker_subject=subject,
            source=MongoChangeSource(self._mongo, options=options),
            stream=stream,
            store=self._store,
            epoch=epoch,
            snapshot_first=self._settings.mongo_snapshot != "never",
            snapshot_now=snapshot,
            lost_history=lost_history(self._settings)
            if isinstance(after, PositionLostError)
            else "stop",
            observer=telemetry,
        )
        telemetry.acquired(reached)
        if reached.position.snapshot is not None:
            # Only now: until its beginning is durable, a crash must not forget the request.
            await self._requests.accept(telemetry.namespace)
        tracer = self._tracing.lane(telemetry.namespace)
        publisher = Publisher(
            stream=stream,
            remedies=self._policies.remedies(collection),
            marker_subject=subject,
            reached=reached,
            epoch=epoch,
            in_flight=self._in_flight[name],
            observer=telemetry,
            rng=self._rng,
            tracer=tracer,
        )
        keeper = CheckpointKeeper(
            store=self._store,
            namespace=telemetry.namespace,
            interval_s=self._settings.checkpoint_interval_s,
            observer=telemetry,
            rng=self._rng,
            tracer=tracer,
        )
        account = self._budget.open_account()
        telemetry.watch_inflight(lambda: account.held_bytes)
        route = Route(
            collection=collection,
            frontier=reached.position.token,
            account=account,
            options=options,
        )
        return Lane(
            route=route,
            publisher=publisher,
            keeper=keeper,
            observer=telemetry,
            copier=self._copier(reached.position.snapshot, telemetry, options=options),
            tracer=tracer,
        )

    def _copier(
        self, snapshot: Snapshot | None, telemetry: LaneTelemetry, *, options: CaptureOptions
    ) -> Copier | None:
        """Return what goes on with a snapshot, if one isn't complete."""
        if snapshot is None:
            return None
        return Copier(
            namespace=telemetry.namespace,
            snapshot=snapshot,
            documents=self._documents,
            source=MongoChangeSource(self._mongo, options=options),
            encode=self._policies,
            documents_per_s=self._settings.mongo_snapshot_documents_per_s,
            pipeline=options.pipeline,
            observer=telemetry,
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
        """See `Workshop.reader`."""
        routes = list(routes)
        return Reader(
            source=MongoChangeSource(self._mongo, options=routes[0].options),
            encode=self._policies,
            home=self._settings.mongo_database,
            operations=self._policies.operations,
            routes=routes,
            observer=observer,
            merge=merge,
            detach=detach,
        )


def lost_history(settings: Settings) -> LostHistory:
    """Return what the settings say of a position that is lost."""
    if settings.mongo_snapshot == "when_needed":
        return "snapshot"
    return settings.mongo_on_history_lost
