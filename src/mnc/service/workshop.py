"""What the settings say of lanes and readers: which drivers, which policies."""

from __future__ import annotations

import random
from collections.abc import Collection, Iterable
from typing import assert_never

import trio

from mnc.capture.budget import ByteBudget
from mnc.capture.demultiplex import Encode
from mnc.capture.options import CaptureOptions
from mnc.capture.reader import CaptureObserver, Detach, Merge, Reader
from mnc.capture.route import Route
from mnc.checkpoint.keeper import CheckpointKeeper
from mnc.config import Settings
from mnc.config.paths import split_mask
from mnc.drivers.mongo.changes import MongoChangeSource
from mnc.drivers.mongo.checkpoints import MongoCheckpointStore
from mnc.drivers.mongo.connection import MongoConnection
from mnc.drivers.nats.claims import JetStreamPayloads
from mnc.drivers.nats.session import NatsSession
from mnc.drivers.nats.stream import JetStream
from mnc.encode.dead_letter import DeadLetteringEncoder
from mnc.encode.event import Encoder
from mnc.encode.hiding import Exclude, Hash, Hiding, Redact, Treatment
from mnc.encode.subject import marker_subject
from mnc.errors import MncError
from mnc.lane import Lane, acquire
from mnc.model import EXPANDED_OPERATIONS, Epoch
from mnc.publish.publisher import Publisher
from mnc.publish.remedy import ClaimChecks, DeadLetters, Remedies, Remedy, Stop
from mnc.telemetry.lane import LaneTelemetry

__all__ = ["SettingsWorkshop"]


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
    ) -> None:
        self._settings = settings
        self._stream = stream
        self._remedies = _remedies(settings, session)
        self._budget = budget
        self._source = MongoChangeSource(mongo, options=_capture_options(settings))
        self._store = MongoCheckpointStore(
            mongo,
            collection=settings.mongo_resume_tokens_collection,
            stream=settings.nats_stream_name,
        )
        encoder = Encoder(stream=settings.nats_stream_name, hiding=_hiding(settings))
        self._encode: Encode = (
            encoder if settings.publish_on_poison == "stop" else DeadLetteringEncoder(encoder)
        )
        self._in_flight = trio.CapacityLimiter(settings.publish_max_inflight_batches)
        self._rng = random.Random()  # noqa: S311 - jitter, no secret

    async def prepare(self, failures: Collection[MncError], /) -> None:
        """See `Workshop.prepare`."""
        await self._stream.prepare(failures)

    async def lane(self, collection: str, epoch: Epoch, telemetry: LaneTelemetry, /) -> Lane:
        """See `Workshop.lane`."""
        subject = marker_subject(stream=self._settings.nats_stream_name, collection=collection)
        reached = await acquire(
            telemetry.namespace,
            marker_subject=subject,
            source=self._source,
            stream=self._stream,
            store=self._store,
            epoch=epoch,
        )
        telemetry.acquired(reached)
        publisher = Publisher(
            stream=self._stream,
            remedies=self._remedies,
            marker_subject=subject,
            reached=reached,
            epoch=epoch,
            in_flight=self._in_flight,
            observer=telemetry,
            rng=self._rng,
        )
        keeper = CheckpointKeeper(
            store=self._store,
            namespace=telemetry.namespace,
            interval_s=self._settings.checkpoint_interval_s,
            observer=telemetry,
            rng=self._rng,
        )
        account = self._budget.open_account()
        telemetry.watch_inflight(lambda: account.held_bytes)
        route = Route(collection=collection, frontier=reached.position.token, account=account)
        return Lane(route=route, publisher=publisher, keeper=keeper, observer=telemetry)

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


def _hiding(settings: Settings) -> Hiding:
    """Return what the settings say of fields that aren't to be seen."""
    treatments: dict[str, Treatment] = dict.fromkeys(settings.mongo_exclude_fields, Exclude())
    for path, mask in map(split_mask, settings.mongo_mask_fields):
        match mask:
            case "redact":
                treatments[path] = Redact()
            case "hash":
                key = settings.mongo_mask_key
                assert key is not None  # noqa: S101 - the settings are checked
                treatments[path] = Hash(key.get_secret_value().encode())
            case _:
                assert_never(mask)
    return Hiding.of(treatments)


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
