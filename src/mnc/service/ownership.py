"""Who owns which collection: this instance alone all of them, or what its cluster says."""

from __future__ import annotations

import platform
import random
from collections.abc import Callable, Collection, Mapping
from collections.abc import Set as AbstractSet
from functools import partial
from pathlib import Path
from typing import Protocol
from uuid import uuid4

import trio
from trio_util import AsyncValue

from mnc.cluster.node import Node
from mnc.cluster.replica import Instance, Pace
from mnc.cluster.view import ClusterView
from mnc.cluster.wire import Stamp, scope
from mnc.config import Selections, Settings
from mnc.drivers.mongo.connection import MongoConnection
from mnc.drivers.mongo.founding import MongoFoundingRegister
from mnc.drivers.nats.cluster import NatsTransport
from mnc.drivers.nats.session import NatsSession
from mnc.drivers.sqlite.storage import SqliteStorage
from mnc.model import SINGLE_INSTANCE, Epoch
from mnc.raft import Role
from mnc.supervise.discoveries import Discoveries
from mnc.telemetry.cluster import ClusterTelemetry
from mnc.telemetry.metrics import Metrics

__all__ = ["Alone", "Assign", "InCluster", "Ownership", "wanted"]

Assign = Callable[[Mapping[str, Epoch]], None]
"""Work on these collections from now on, and on no others."""


class Ownership(Protocol):
    """Says which collections this instance owns."""

    @property
    def initial(self) -> Mapping[str, Epoch]:
        """What it owns before anything is heard from others."""
        ...

    async def run(self, assign: Assign, /) -> None:
        """Call `assign` at each change, until cancelled. Raises ClusterError."""
        ...

    def released(self, collection: str, epoch: Epoch, /) -> None:
        """Hear that nothing more is done for a collection in this epoch."""
        ...

    def begin_to_leave(self) -> None:
        """Take no more work: the process is about to end."""
        ...

    async def finish_leaving(self) -> None:
        """Wait until others have taken over, for a second or two at most."""
        ...

    def not_ready_because(self) -> str | None:
        """Say in a sentence why this instance can't be given work, or None."""
        ...

    def status(self) -> Mapping[str, object] | None:
        """Return what `/status` shows of the cluster; None without one."""
        ...


def wanted(
    selections: Selections, *, found: AbstractSet[str], shared: AbstractSet[str]
) -> AbstractSet[str]:
    """Return what a leader shares out that has `found` so much itself, when `shared` is so far.

    What an earlier leader found stays, as far as it is wanted still.
    """
    kept = (name for name in shared if selections.wants(name))
    return {*selections.names, *found, *kept}


class Alone:
    """A single instance, which owns everything."""

    def __init__(self, collections: Collection[str], *, discoveries: Discoveries) -> None:
        """Own `collections`, and what `discoveries` find."""
        self.initial: Mapping[str, Epoch] = dict.fromkeys(collections, SINGLE_INSTANCE)
        self._discoveries = discoveries

    async def run(self, assign: Assign, /) -> None:
        """See `Ownership.run`."""
        initial, discoveries = self.initial, self._discoveries
        await discoveries.run(
            lambda: assign({**initial, **dict.fromkeys(discoveries.known, SINGLE_INSTANCE)})
        )

    def released(self, collection: str, epoch: Epoch, /) -> None:
        """See `Ownership.released`: there is nobody to tell."""

    def begin_to_leave(self) -> None:
        """See `Ownership.begin_to_leave`."""

    async def finish_leaving(self) -> None:
        """See `Ownership.finish_leaving`."""

    def not_ready_because(self) -> str | None:
        """See `Ownership.not_ready_because`."""
        return self._discoveries.not_ready_because()

    def status(self) -> Mapping[str, object] | None:
        """See `Ownership.status`."""
        return None


class InCluster:
    """One instance of several."""

    def __init__(
        self,
        settings: Settings,
        *,
        mongo: MongoConnection,
        metrics: Metrics,
        http_port: int,
        discoveries: Discoveries,
    ) -> None:
        """Open the disk. Raises ConfigError or ClusterError when it can't be used."""
        path = settings.raft_log_path or Path("mnc-raft") / str(settings.http_port)
        self._storage = SqliteStorage.open(path)
        self._telemetry = ClusterTelemetry(metrics.registry)
        # A connection of its own: a heartbeat must not wait behind batches of megabytes.
        self._session = NatsSession(settings.nats_servers, name="mnc-cluster", security=settings)
        self._transport = NatsTransport(
            self._session,
            cluster=settings.raft_cluster_name,
            node=self._storage.node,
            stamp=Stamp(
                size=settings.raft_cluster_size,
                scope=scope(database=mongo.database.name, stream=settings.nats_stream_name),
            ),
        )
        self.initial: Mapping[str, Epoch] = {}
        self._selections = settings.selections
        self._discoveries = discoveries
        self._leads = AsyncValue(False)
        self._node = Node(
            instance=Instance(
                name=settings.raft_node_name or f"{platform.node()}:{http_port}",
                incarnation=uuid4().hex,
                size=settings.raft_cluster_size,
                wanted=self._wanted,
                assignment=settings.raft_assignment,
                pace=Pace.of(settings.raft_election_timeout_s),
            ),
            storage=self._storage,
            in_thread=partial(trio.to_thread.run_sync, limiter=trio.CapacityLimiter(1)),
            transport=self._transport,
            register=MongoFoundingRegister(
                mongo,
                collection=settings.mongo_resume_tokens_collection,
                cluster=settings.raft_cluster_name,
                stream=settings.nats_stream_name,
            ),
            noted=self._note,
            rng=random.Random(),  # noqa: S311 - election time-outs, no secret
        )

    async def run(self, assign: Assign, /) -> None:
        """See `Ownership.run`."""
        try:
            async with trio.open_nursery() as nursery:
                await nursery.start(self._session.run)
                await nursery.start(self._transport.run)
                nursery.start_soon(self._discover_while_leading)
                await self._node.run(assign)
        finally:
            self._storage.close()

    def released(self, collection: str, epoch: Epoch, /) -> None:
        """See `Ownership.released`."""
        self._node.release(collection, epoch)

    def begin_to_leave(self) -> None:
        """See `Ownership.begin_to_leave`."""
        self._node.begin_to_leave()

    async def finish_leaving(self) -> None:
        """See `Ownership.finish_leaving`."""
        await self._node.finish_leaving()

    def not_ready_because(self) -> str | None:
        """See `Ownership.not_ready_because`."""
        reason = self._node.not_ready_because()
        if reason is None and self._leads.value:
            return self._discoveries.not_ready_because()
        return reason

    def status(self) -> Mapping[str, object]:
        """See `Ownership.status`."""
        view = self._node.view
        return {
            "strangers": self._transport.strangers,
            "dropped": self._transport.dropped,
            **(view.status() if view else {"node": self._storage.node, "group": None}),
        }

    def _wanted(self, shared: AbstractSet[str]) -> AbstractSet[str]:
        return wanted(self._selections, found=self._discoveries.known, shared=shared)

    async def _discover_while_leading(self) -> None:
        """Look for collections on behalf of all; the next leader goes on where this one ends."""
        while True:
            await self._leads.wait_value(True)
            async with trio.open_nursery() as nursery:
                # What it finds is placed with the next tick.
                nursery.start_soon(self._discoveries.run, lambda: None)
                await self._leads.wait_value(False)
                nursery.cancel_scope.cancel()

    def _note(self, view: ClusterView | None) -> None:
        self._leads.value = view is not None and view.soft_state.role is Role.LEADER
        self._telemetry.note(None if view is None else view.figures())
