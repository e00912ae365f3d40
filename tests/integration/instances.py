"""Instances that talk to one another over a real broker, in this process or in another.

Run as a program it is one that listens until it is killed:
instances.py URL CLUSTER NODE
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import trio

from mnc.cluster.messages import Hello, Probe, Propose
from mnc.cluster.ports import Arrival, Heard, Unreachable
from mnc.cluster.wire import Stamp, scope
from mnc.drivers.nats.cluster import NatsTransport
from mnc.drivers.nats.session import NatsSession
from mnc.raft import NodeId

__all__ = ["Instance", "start_child"]

_CONNECT_S = 10.0
_ASK_EVERY_S = 0.02
_SCOPE = scope(database="shop", stream="cs")


@dataclass(eq=False, slots=True, kw_only=True)
class Instance:
    """A session and a transport, and what one says with them."""

    url: str
    cluster: str
    node: NodeId
    size: int = 3
    session: NatsSession = field(init=False)
    transport: NatsTransport = field(init=False)

    def __post_init__(self) -> None:
        self.session = NatsSession([self.url], name=self.node)
        self.transport = NatsTransport(
            self.session,
            cluster=self.cluster,
            node=self.node,
            stamp=Stamp(size=self.size, scope=_SCOPE),
        )

    async def run(self, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Listen until cancelled."""
        async with trio.open_nursery() as nursery:
            await nursery.start(self.session.run)
            await nursery.start(self.transport.run)
            await self.settle()
            task_status.started()

    async def settle(self) -> None:
        """Return when there is a connection and the broker has done what it was asked before."""
        with trio.fail_after(_CONNECT_S):
            await self.session.wait_connected()
            await self.session.call(lambda client: client.flush())

    async def propose(self, *commands: bytes, receiver: NodeId) -> None:
        """Send commands, in one call."""
        messages = [
            Propose(sender=self.node, receiver=receiver, command=command) for command in commands
        ]
        await self.transport.send(messages, group=None)

    async def say_hello(self) -> None:
        """Say it to everybody."""
        hello = Hello(
            sender=self.node, name="pod", group=None, last_term=0, last_index=0, leaderless_s=0.0
        )
        await self.transport.send([hello], group=None)

    async def probe(self, receiver: NodeId) -> None:
        """Probe one that may be gone."""
        await self.transport.send([Probe(sender=self.node, receiver=receiver)], group=None)

    def arrived(self) -> list[Arrival]:
        """Take what has arrived."""
        arrivals = []
        while self.transport.arrivals.statistics().current_buffer_used:
            arrivals.append(self.transport.arrivals.receive_nowait())
        return arrivals

    async def next_command(self) -> bytes:
        """Wait for a command, and return it."""
        while True:
            match await self.transport.arrivals.receive():
                case Heard(message=Propose(command=command)):
                    return command

    async def wait_unreachable(self, node: NodeId) -> float:
        """Probe until a node is unreachable; return when that was, as trio's time."""
        while Unreachable(node=node) not in self.arrived():
            await self.probe(node)
            await trio.sleep(_ASK_EVERY_S)
        return trio.current_time()


@contextmanager
def start_child(url: str, cluster: str, node: NodeId) -> Iterator[subprocess.Popen[str]]:
    """Start an instance in a process of its own, which listens; it is killed at the end."""
    command = [sys.executable, __file__, url, cluster, node]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:
        try:
            assert child.stdout is not None
            assert "listening\n" in child.stdout  # reads up to this line, past what is logged
            yield child
        finally:
            child.kill()


async def _main() -> None:
    url, cluster, node = sys.argv[1:]
    async with trio.open_nursery() as nursery:
        await nursery.start(Instance(url=url, cluster=cluster, node=NodeId(node)).run)
        print("listening", flush=True)  # noqa: T201 - the one who started this waits for it


if __name__ == "__main__":
    trio.run(_main)
