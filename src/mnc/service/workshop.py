"""What the settings say of lanes and readers: which drivers, which policies."""

from __future__ import annotations

import random
from collections.abc import Collection, Iterable
from typing import assert_never

import trio

from mnc.acquire import acquire
from mnc.capture.budget import ByteBudget
from mnc.capture.copier import Copier
from mnc.capture.demultiplex import Encode
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
from mnc.drivers.nats.claims import JetStreamPayloads
from mnc.drivers.nats.session import NatsSession
from mnc.drivers.nats.stream import JetStream
from mnc.encode.dead_letter import DeadLetteringEncoder
from mnc.encode.event import Encoder
from mnc.encode.subject import marker_subject
from mnc.errors import MncError, PositionLostError
from mnc.lane import Lane
from mnc.model import EXPANDED_OPERATIONS, Epoch, Snapshot
from mnc.publish.publisher import Publisher
from mnc.publish.remedy import ClaimChecks, DeadLetters, Remedies, Remedy, Stop
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
        stream: JetStream,
        session: NatsSession,
        budget: ByteBudget,
        requests: MongoSnapshotRequests,
        tracing: Tracing,
    ) -> None:
        self._requests = requests
        self._settings = settings
        self._tracing = tracing
        self._stream = stream
        self._remedies = _remedies(settings, session)
        self._budget = budget
        self._source = MongoChangeSource(mongo, options=_capture_options(settings))
        self._documents = MongoDocuments(mongo)
        self._store = MongoCheckpointStore(
            mongo,
            collection=settings.mongo_resume_tokens_collection,
            stream=settings.nats_stream_name,
        )
        encoder = Encoder(stream=settings.nats_stream_name)
        self._encode: Encode = (
            encoder if settings.publish_on_poison == "stop" else DeadLetteringEncoder(encoder)
        )
        self._in_flight = trio.CapacityLimiter(settings.publish_max_inflight_batches)
        self._rng = random.Random()  # noqa: S311 - jitter, no secret

    async def prepare(self, failures: Collection[MncError], /) -> None:
        """See `Workshop.prepare`."""
        await self._stream.prepare(failures)

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
        subject = marker_subject(stream=self._settings.nats_stream_name, collection=collection)
        reached = await acquire(
            telemetry.namespace,
            marker_subject=subject,
            source=self._source,
            stream=self._stream,
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
            stream=self._stream,
            remedies=self._remedies,
            marker_subject=subject,
            reached=reached,
            epoch=epoch,
            in_flight=self._in_flight,
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
        route = Route(collection=collection, frontier=reached.position.token, account=account)
        return Lane(
            route=route,
            publisher=publisher,
            keeper=keeper,
            observer=telemetry,
            copier=self._copier(reached.position.snapshot, telemetry),
            tracer=tracer,
        )

    def _copier(self, snapshot: Snapshot | None, telemetry: LaneTelemetry) -> Copier | None:
        """Return what goes on with a snapshot, if one isn't complete."""
        if snapshot is None:
            return None
        return Copier(
            namespace=telemetry.namespace,
            snapshot=snapshot,
            documents=self._documents,
            source=self._source,
            encode=self._encode,
            documents_per_s=self._settings.mongo_snapshot_documents_per_s,
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
        return Reader(
            source=self._source,
            encode=self._encode,
            operations=frozenset(self._settings.mongo_watch_operations),
            routes=routes,
            observer=observer,
            merge=merge,
            detach=detach,
        )


def _capture_options(settings: Settings) -> CaptureOptions:
    """Return what the settings say of change streams."""
    return CaptureOptions(
        full_document=settings.mongo_full_document,
        before_change=settings.mongo_full_document_before_change,
        expanded_events=not EXPANDED_OPERATIONS.isdisjoint(settings.mongo_watch_operations),
    )


def lost_history(settings: Settings) -> LostHistory:
    """Return what the settings say of a position that is lost."""
    if settings.mongo_snapshot == "when_needed":
        return "snapshot"
    return settings.mongo_on_history_lost


def _remedies(settings: Settings, session: NatsSession) -> Remedies:
    """Return what the settings say of events that the stream doesn't take."""
    oversize: Remedy
    match settings.nats_oversize:
        case "objectstore":
            oversize = ClaimChecks(
                JetStreamPayloads(
                    session,
                    stream=settings.nats_stream_name,
                    ack_timeout_s=settings.nats_ack_timeout_s,
                )
            )
        case "deadletter":
            oversize = DeadLetters()
        case "stop":
            oversize = Stop("set NATS_OVERSIZE=objectstore")
        case _:
            assert_never(settings.nats_oversize)
    match settings.publish_on_poison:
        case "deadletter":
            return Remedies(oversize=oversize, poison=DeadLetters())
        case "stop":
            return Remedies(
                oversize=oversize, poison=Stop("set PUBLISH_ON_POISON=deadletter to go on")
            )
        case _:
            assert_never(settings.publish_on_poison)
