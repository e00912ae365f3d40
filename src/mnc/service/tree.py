"""The composition root: builds the nursery tree of `mnc serve` and takes it down in order.

    serve
    ├── http          starts first, so that health can say "starting"; ends last
    ├── nats          one trio-asyncio loop with the NATS client
    ├── raft          this instance's part in the cluster, with a NATS client of its own; not with
    │                 RAFT_CLUSTER_SIZE=1
    └── watch         supervisor: one reader and many lanes for each database; a sweeper
                      for each stream

Shutdown: capture stops; what was captured is published and checkpointed, up to a deadline; others
take over; then the clients are closed, then HTTP.
"""

from __future__ import annotations

import os
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, partial

import structlog
import trio

from mnc import __version__
from mnc.capture.budget import ByteBudget
from mnc.config import Settings
from mnc.drivers.mongo.checkpoints import MongoCheckpointStore
from mnc.drivers.mongo.connection import MongoConnection
from mnc.drivers.mongo.newcomers import MongoNewcomerSource
from mnc.drivers.mongo.requests import MongoSnapshotRequests
from mnc.drivers.nats.mode import Mode
from mnc.drivers.nats.session import NatsSession
from mnc.drivers.nats.stream import JetStream
from mnc.drivers.nats.sweep import PayloadSweeper
from mnc.encode.subject import stream_subjects
from mnc.http.app import build_app
from mnc.http.server import bind, serve
from mnc.service.databases import warn_of_missing_databases
from mnc.service.ownership import Alone, InCluster, Ownership
from mnc.service.probes import ServiceProbes
from mnc.service.requests import watch_requests
from mnc.service.workshop import SettingsWorkshop, lost_history
from mnc.supervise.discoveries import Discoveries
from mnc.supervise.discovery import Discovery
from mnc.supervise.policy import RestartPolicy
from mnc.supervise.supervisor import Supervisor
from mnc.telemetry.lanes import Lanes
from mnc.telemetry.metrics import Metrics
from mnc.telemetry.renewal import DiscoveryTelemetry
from mnc.telemetry.stalls import StallWatch
from mnc.telemetry.tracing import Tracing, open_tracing

__all__ = ["Running", "run_service"]

_LAST_TRACES_S = 2.0
"""How long a shutdown waits for a collector of traces."""


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

    Raises ConfigError when the HTTP port can't be bound, or a client or the disk refuses its
    setting; ClusterError when the state on the disk can't be trusted. Servers that can't be reached
    are waited for; `/readyz` says so meanwhile.

    Cancellation: everything is dropped where it is; the next start goes on from the markers.
    """
    log = structlog.get_logger()
    listening = bind(settings.http_host, settings.http_port)
    http_port: int = listening.getsockname()[1]
    mongo = MongoConnection(settings.mongo_uri.get_secret_value(), app_name="mnc")
    session = NatsSession(settings.nats_servers, name="mnc", security=settings)
    metrics = Metrics()
    streams = _streams(settings, session, metrics)
    budget = ByteBudget(settings.publish_max_inflight_bytes)
    metrics.watch_budget(lambda: budget.statistics().used_bytes, limit_bytes=budget.limit_bytes)
    lanes = Lanes(settings.mongo_database, metrics)
    tracing = open_tracing(os.environ)
    # Asked at every write of a resume token, so remembered.
    stream_of = cache(settings.stream_of)
    tokens = settings.mongo_resume_tokens_collection
    store = MongoCheckpointStore(mongo, collection=tokens, stream_of=stream_of)
    requests = MongoSnapshotRequests(mongo, collection=tokens, stream_of=stream_of)
    discoveries = _discoveries(settings, mongo, store, metrics)
    ownership: Ownership = (
        Alone(settings.selections.names, discoveries=discoveries)
        if settings.raft_cluster_size == 1
        else InCluster(
            settings, mongo=mongo, metrics=metrics, http_port=http_port, discoveries=discoveries
        )
    )
    supervisor = Supervisor(
        lanes=lanes,
        workshop=SettingsWorkshop(
            settings,
            mongo=mongo,
            streams=streams,
            session=session,
            budget=budget,
            store=store,
            requests=requests,
            tracing=tracing,
        ),
        policy=_restart_policy(settings),
        rng=random.Random(),  # noqa: S311 - jitter, no secret
        released=ownership.released,
    )
    supervisor.assign(ownership.initial)
    stalls = StallWatch(metrics.stall_seconds.observe)
    probes = ServiceProbes(
        settings,
        mongo=mongo,
        session=session,
        streams=streams,
        ownership=ownership,
        lanes=lanes,
        stalls=stalls,
        metrics=metrics,
    )
    async with trio.open_nursery() as http:
        await http.start(serve, build_app(probes), listening)
        log.info("service.started", version=__version__, http_port=http_port)
        async with trio.open_nursery() as clients:
            await clients.start(session.run)
            task_status.started(Running(http_port=http_port, readiness=probes.readiness))
            async with trio.open_nursery() as beside:
                for name in {it.stream for it in settings.policies if it.oversize == "objectstore"}:
                    beside.start_soon(PayloadSweeper(session, stream=name).run)
                beside.start_soon(stalls.run)
                beside.start_soon(warn_of_missing_databases, mongo, settings.selections)
                beside.start_soon(watch_requests, requests, supervisor.take_snapshot)
                beside.start_soon(ownership.run, supervisor.assign)
                await _watch(
                    supervisor,
                    ownership,
                    shutdown=shutdown,
                    timeout_s=settings.shutdown_timeout_s,
                )
                await ownership.finish_leaving()
                beside.cancel_scope.cancel()
            clients.cancel_scope.cancel()
        await mongo.close()
        await _send_traces(tracing)
        http.cancel_scope.cancel()
    log.info("service.stopped")


async def _send_traces(tracing: Tracing) -> None:
    """Send the traces that are left, if the collector takes them at once."""
    with trio.move_on_after(_LAST_TRACES_S):
        await trio.to_thread.run_sync(tracing.close, abandon_on_cancel=True)


def _streams(settings: Settings, session: NatsSession, metrics: Metrics) -> Mapping[str, JetStream]:
    """Return the streams by their names, whose ways of publishing the metrics show."""
    streams = {
        name: JetStream(
            session,
            stream=name,
            subjects=stream_subjects(name),
            ack_timeout_s=settings.nats_ack_timeout_s,
            require_fencing=settings.nats_require_fencing,
        )
        for name in settings.streams
    }
    for name, stream in streams.items():
        metrics.watch_mode(name, partial(_mode, stream), modes=[mode.value for mode in Mode])
    return streams


def _mode(stream: JetStream) -> str | None:
    return stream.mode and stream.mode.value


def _discoveries(
    settings: Settings, mongo: MongoConnection, store: MongoCheckpointStore, metrics: Metrics
) -> Discoveries:
    """Return what looks for collections, in each database of which the settings leave any."""
    discoveries = {
        database: Discovery(
            database=database,
            names=selection.names,
            wants=selection.wants,
            source=MongoNewcomerSource(mongo, selection, database=database),
            store=store,
            policy=_restart_policy(settings),
            rng=random.Random(),  # noqa: S311 - jitter, no secret
            snapshot_first=settings.mongo_snapshot != "never",
            lost_history=lost_history(settings),
            observer=DiscoveryTelemetry(database, metrics),
        )
        for database, selection in settings.selections.databases.items()
        if selection.globs
    }
    return Discoveries(discoveries, home=settings.mongo_database)


def _restart_policy(settings: Settings) -> RestartPolicy:
    return RestartPolicy(renews_lost_positions=lost_history(settings) != "stop")


async def _watch(
    supervisor: Supervisor, ownership: Ownership, *, shutdown: trio.Event, timeout_s: float
) -> None:
    """Run the supervisor until it has drained, or until the deadline after `shutdown`."""
    log = structlog.get_logger()

    async def stop_when_told(scope: trio.CancelScope) -> None:
        await shutdown.wait()
        log.info("service.stopping", timeout_s=timeout_s)
        ownership.begin_to_leave()
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
