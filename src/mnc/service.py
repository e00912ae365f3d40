"""The composition root: builds the nursery tree of `mnc serve` and takes it down in order.

    serve
    ├── http          starts first, so that health can say "starting"; ends last
    ├── nats          one trio-asyncio loop with the NATS client
    └── watch         supervisor: one reader and many lanes for each database; a sweeper

Shutdown: capture stops; what was captured is published and checkpointed, up to a deadline; then the
clients are closed, then HTTP.
"""

from __future__ import annotations

import random
import time
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, assert_never

import structlog
import trio

from mnc import __version__
from mnc.capture.budget import ByteBudget
from mnc.capture.demultiplex import Encode
from mnc.capture.reader import CaptureObserver, Detach, Merge, Reader
from mnc.capture.route import Route
from mnc.checkpoint.keeper import CheckpointKeeper
from mnc.config import Settings
from mnc.drivers.mongo.changes import MongoChangeSource
from mnc.drivers.mongo.checkpoints import MongoCheckpointStore
from mnc.drivers.mongo.connection import MongoConnection
from mnc.drivers.nats.claims import JetStreamPayloads
from mnc.drivers.nats.mode import Mode
from mnc.drivers.nats.session import NatsSession
from mnc.drivers.nats.stream import JetStream
from mnc.drivers.nats.sweep import PayloadSweeper
from mnc.encode.dead_letter import DeadLetteringEncoder
from mnc.encode.event import Encoder
from mnc.encode.subject import marker_subject, stream_subjects
from mnc.errors import MncError
from mnc.http.app import build_app
from mnc.http.server import bind, serve
from mnc.lane import Lane, acquire
from mnc.model import Epoch
from mnc.publish.publisher import Publisher
from mnc.publish.remedy import ClaimChecks, DeadLetters, Remedies, Remedy, Stop
from mnc.supervise.policy import RestartPolicy
from mnc.supervise.supervisor import Supervisor
from mnc.telemetry.lane import LaneTelemetry
from mnc.telemetry.lanes import Lanes
from mnc.telemetry.metrics import Metrics

__all__ = ["Running", "run_service"]

_SINGLE: Final = Epoch(0)
"""A single instance owns every collection for ever."""

_FULL_DOCUMENT = "updateLookup"
"""Updates carry the document as it is when MongoDB looks it up, as earlier connectors had it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Running:
    """What a caller can know once the service has started."""

    http_port: int
    readiness: Callable[[], Sequence[str]]
    """Why the instance isn't ready, in sentences; empty when it is."""


async def run_service(
    settings: Settings,
    *,
    shutdown: trio.Event,
    task_status: trio.TaskStatus[Running] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Run the connector until `shutdown` is set, then drain it and return.

    Raises ConfigError when the HTTP port can't be bound or a client refuses its setting. Servers
    that can't be reached are waited for; `/readyz` says so meanwhile.

    Cancellation: everything is dropped where it is; the next start goes on from the markers.
    """
    log = structlog.get_logger()
    listening = bind(settings.http_host, settings.http_port)
    mongo = MongoConnection(settings.mongo_uri.get_secret_value(), app_name="mnc")
    session = NatsSession(settings.nats_servers, name="mnc", security=settings)
    stream = JetStream(
        session,
        stream=settings.nats_stream_name,
        subjects=stream_subjects(settings.nats_stream_name),
        ack_timeout_s=settings.nats_ack_timeout_s,
        require_fencing=settings.nats_require_fencing,
    )
    metrics = Metrics()
    budget = ByteBudget(settings.publish_max_inflight_bytes)
    metrics.watch_mode(lambda: _name_of(stream.mode), modes=[mode.value for mode in Mode])
    metrics.watch_budget(lambda: budget.statistics().used_bytes, limit_bytes=budget.limit_bytes)
    lanes = Lanes(mongo.database.name, metrics)
    supervisor = Supervisor(
        lanes=lanes,
        workshop=_Workshop(
            settings,
            mongo=mongo,
            stream=stream,
            budget=budget,
            remedies=_remedies(settings, session),
        ),
        policy=RestartPolicy(),
        rng=random.Random(),  # noqa: S311 - jitter, no secret
        released=_nobody_takes_over,
    )
    supervisor.assign(dict.fromkeys(settings.mongo_watch_collections, _SINGLE))
    probes = _Probes(
        settings, mongo=mongo, session=session, stream=stream, lanes=lanes, metrics=metrics
    )
    async with trio.open_nursery() as http:
        await http.start(serve, build_app(probes), listening)
        http_port: int = listening.getsockname()[1]
        log.info("service.started", version=__version__, http_port=http_port)
        async with trio.open_nursery() as clients:
            await clients.start(session.run)
            task_status.started(Running(http_port=http_port, readiness=probes.readiness))
            async with trio.open_nursery() as beside:
                if settings.nats_oversize == "objectstore":
                    sweeper = PayloadSweeper(session, stream=settings.nats_stream_name)
                    beside.start_soon(sweeper.run)
                await _watch(supervisor, shutdown=shutdown, timeout_s=settings.shutdown_timeout_s)
                beside.cancel_scope.cancel()
            clients.cancel_scope.cancel()
        await mongo.close()
        http.cancel_scope.cancel()
    log.info("service.stopped")


async def _watch(supervisor: Supervisor, *, shutdown: trio.Event, timeout_s: float) -> None:
    """Run the supervisor until it has drained, or until the deadline after `shutdown`."""
    log = structlog.get_logger()

    async def stop_when_told(scope: trio.CancelScope) -> None:
        await shutdown.wait()
        log.info("service.stopping", timeout_s=timeout_s)
        supervisor.stop()
        scope.deadline = trio.current_time() + timeout_s

    async with trio.open_nursery() as nursery:
        with trio.CancelScope() as scope:
            nursery.start_soon(stop_when_told, scope)
            await supervisor.run()
        if scope.cancelled_caught:
            log.warning(
                "service.drain_timed_out",
                timeout_s=timeout_s,
                remedy="nothing is lost: the next start goes on from the position markers",
            )
        nursery.cancel_scope.cancel()


def _nobody_takes_over(collection: str, epoch: Epoch) -> None:
    """Tell nobody that a collection is released: there is one instance."""


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


class _Workshop:
    """Builds lanes and readers from the settings and the drivers."""

    def __init__(
        self,
        settings: Settings,
        *,
        mongo: MongoConnection,
        stream: JetStream,
        budget: ByteBudget,
        remedies: Remedies,
    ) -> None:
        self._settings = settings
        self._stream = stream
        self._remedies = remedies
        self._budget = budget
        self._source = MongoChangeSource(mongo, full_document=_FULL_DOCUMENT)
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
        await self._stream.prepare(failures)

    async def lane(self, collection: str, epoch: Epoch, telemetry: LaneTelemetry, /) -> Lane:
        subject = marker_subject(stream=self._settings.nats_stream_name, collection=collection)
        reached = await acquire(
            telemetry.namespace,
            marker_subject=subject,
            source=self._source,
            stream=self._stream,
            store=self._store,
            epoch=epoch,
        )
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
        return Reader(
            source=self._source,
            encode=self._encode,
            operations=frozenset(self._settings.mongo_watch_operations),
            routes=routes,
            observer=observer,
            merge=merge,
            detach=detach,
        )


class _Probes:
    """Answers the HTTP server's questions."""

    def __init__(
        self,
        settings: Settings,
        *,
        mongo: MongoConnection,
        session: NatsSession,
        stream: JetStream,
        lanes: Lanes,
        metrics: Metrics,
    ) -> None:
        self._settings = settings
        self._session = session
        self._stream = stream
        self._lanes = lanes
        self._metrics = metrics
        self._started_at = time.time()
        self.checks: Mapping[str, Callable[[], Awaitable[None]]] = {
            "nats": stream.check,
            "mongo": mongo.check,
        }

    def readiness(self) -> Sequence[str]:
        reasons = [reason for lane in self._lanes.current() if (reason := lane.not_ready_because())]
        if reasons and self._session.last_error is not None:
            reasons.insert(0, f"NATS can't be reached: {self._session.last_error}")
        return reasons

    def status(self) -> Mapping[str, object]:
        return {
            "version": __version__,
            "uptime_s": round(time.time() - self._started_at, 1),
            "stream": self._settings.nats_stream_name,
            "publishing": _publishing(self._stream.mode),
            "ready": not self.readiness(),
            "nats_error": self._session.last_error,
            "collections": [lane.snapshot() for lane in self._lanes.current()],
        }

    def metrics(self) -> bytes:
        return self._metrics.exposition()


def _name_of(mode: Mode | None) -> str | None:
    return None if mode is None else mode.value


def _publishing(mode: Mode | None) -> Mapping[str, object]:
    """Say how events get into the stream, and what that doesn't promise."""
    return {
        "mode": _name_of(mode),
        "not_promised": [] if mode is None else list(mode.not_promised),
    }
