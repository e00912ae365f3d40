"""The port to the other instances: a broker in memory, whose wires can be cut."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress

import trio

from mnc.cluster.messages import ClusterMessage, GroupId, Hello
from mnc.cluster.ports import Arrival, Heard, Unreachable
from mnc.raft import NodeId

__all__ = ["FakeNetwork", "FakeTransport"]

_CAPACITY = 256
_CAPACITY_FOR_HELLO = 128


class FakeNetwork:
    """Carry messages at once, or never.

    Invariants: a message waits nowhere but in the arrivals of its receiver.
    """

    def __init__(self) -> None:
        self.loses: Callable[[ClusterMessage], bool] = lambda _: False
        """Says for each message whether it is lost on the way."""
        self._transports: dict[NodeId, FakeTransport] = {}
        self._cut: set[tuple[NodeId, NodeId]] = set()
        self._deaf: set[NodeId] = set()

    def connect(self, node: NodeId) -> FakeTransport:
        """Return the transport of a new process, in the place of an earlier one of this node."""
        self._transports[node] = transport = FakeTransport(self, node)
        return transport

    def disconnect(self, node: NodeId) -> None:
        """Let a node's connection end: others learn that it is unreachable when they send to it."""
        self._transports[node].is_connected = False

    def reconnect(self, node: NodeId) -> None:
        """Let the same process be connected again."""
        self._transports[node].is_connected = True

    def cut(self, sender: NodeId, receiver: NodeId) -> None:
        """Lose what the one sends to the other from now on; nobody is told."""
        self._cut.add((sender, receiver))

    def isolate(self, node: NodeId) -> None:
        """Lose what a node sends, and what is sent to it, as if it were frozen."""
        for other in self._transports.keys() - {node}:
            self.cut(node, other)
            self.cut(other, node)

    def deafen(self, node: NodeId) -> None:
        """Let a node listen to nothing, which those who send to it learn, and still send."""
        self._deaf.add(node)

    def heal(self) -> None:
        """Lose nothing any more because of `cut`, `isolate` and `deafen`."""
        self._cut.clear()
        self._deaf.clear()

    def carry(self, message: ClusterMessage, *, group: GroupId | None) -> None:
        """Deliver to those whom a message is for; for the transports to use."""
        sender = message.sender
        if isinstance(message, Hello):
            receivers = [*(self._transports.keys() - {sender})]
        else:
            receivers = [message.receiver]
        for receiver in receivers:
            transport = self._transports.get(receiver)
            if (sender, receiver) in self._cut or self.loses(message):
                continue
            if transport is not None and transport.is_connected and receiver not in self._deaf:
                transport.arrive(Heard(message=message, group=group))
            elif not isinstance(message, Hello):
                self._transports[sender].arrive(Unreachable(node=receiver))


class FakeTransport:
    """One process's connection."""

    def __init__(self, network: FakeNetwork, node: NodeId) -> None:
        self.node = node
        self.is_connected = True
        self._network = network
        self._arrive, self.arrivals = trio.open_memory_channel[Arrival](_CAPACITY)

    def arrive(self, arrival: Arrival) -> None:
        """Take what comes in; for the network to use."""
        is_hello = isinstance(arrival, Heard) and isinstance(arrival.message, Hello)
        capacity = _CAPACITY_FOR_HELLO if is_hello else _CAPACITY
        if self.arrivals.statistics().current_buffer_used < capacity:
            with suppress(trio.BrokenResourceError):  # a process that has ended
                self._arrive.send_nowait(arrival)

    async def send(self, messages: Sequence[ClusterMessage], *, group: GroupId | None) -> None:
        """Send; see the port."""
        await trio.lowlevel.checkpoint()
        for message in messages:
            if self.is_connected:
                self._network.carry(message, group=group)
