"""The fake network and the real one, behind the same handles."""

from __future__ import annotations

from typing import Protocol
from uuid import uuid4

import trio
from tests.fakes.network import FakeNetwork

from mnc.cluster.ports import Transport
from mnc.cluster.wire import Stamp, scope
from mnc.drivers.nats.cluster import NatsTransport
from mnc.drivers.nats.session import NatsSession
from mnc.raft import NodeId

__all__ = ["FakeTransportHarness", "NatsTransportHarness", "TransportHarness"]

_CONNECT_S = 10.0


class TransportHarness(Protocol):
    """Instances of one cluster."""

    async def connect(self, node: NodeId) -> Transport:
        """Start an instance's transport, and return when it hears what is sent."""
        ...

    async def disconnect(self, node: NodeId) -> None:
        """End an instance's connection, and return when the broker knows."""
        ...


class FakeTransportHarness:
    """Instances in one fake network."""

    def __init__(self) -> None:
        self._network = FakeNetwork()

    async def connect(self, node: NodeId) -> Transport:
        """Connect."""
        return self._network.connect(node)

    async def disconnect(self, node: NodeId) -> None:
        """Disconnect."""
        self._network.disconnect(node)


class NatsTransportHarness:
    """Instances at one nats-server, each with a connection of its own."""

    def __init__(self, url: str, nursery: trio.Nursery) -> None:
        self._url = url
        self._nursery = nursery
        self._cluster = f"test-{uuid4().hex[:12]}"
        self._ends: dict[NodeId, tuple[trio.Event, trio.Event]] = {}

    async def connect(self, node: NodeId) -> Transport:
        """Connect."""
        session = NatsSession([self._url], name=node)
        stamp = Stamp(size=3, scope=scope(database="shop", stream="cs"))
        transport = NatsTransport(session, cluster=self._cluster, node=node, stamp=stamp)
        self._ends[node] = trio.Event(), trio.Event()
        await self._nursery.start(self._serve, node, session, transport)
        return transport

    async def disconnect(self, node: NodeId) -> None:
        """Disconnect."""
        end, ended = self._ends[node]
        end.set()
        await ended.wait()

    async def _serve(
        self,
        node: NodeId,
        session: NatsSession,
        transport: NatsTransport,
        task_status: trio.TaskStatus[None],
    ) -> None:
        end, ended = self._ends[node]
        async with trio.open_nursery() as nursery:
            await nursery.start(session.run)
            with trio.fail_after(_CONNECT_S):
                await session.wait_connected()
            await nursery.start(transport.run)
            await session.call(lambda client: client.flush())
            task_status.started()
            await end.wait()
            nursery.cancel_scope.cancel()
        ended.set()
