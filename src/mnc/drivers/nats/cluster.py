"""Messages between instances, over core NATS subjects.

Theory of operation. An instance listens on a subject of its own and on one for everybody; both have
the cluster's name in them. Nothing is stored: what can't be delivered now is lost, which Raft and
the rest of the cluster's protocol expect.

What goes to one instance asks for its answer at an inbox that names the receiver. Nobody answers;
but when nobody listens to the receiver's subject, because its process is gone, the server says so
there (status 503, no responders): a few milliseconds after a process died, long before an election
time-out. A frozen process listens as far as the server knows.

A process that was frozen reads old messages when it goes on, also from its own socket. None is
harmful: Raft's carry a term and the round that they answer, and a command repeats what is asked for
until it is seen. But somebody who said Hello long ago may be gone, so one Hello alone says little.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack, suppress

import structlog
import trio
from nats.aio.client import Client
from nats.aio.msg import Msg

from mnc.cluster.messages import ClusterMessage, GroupId, Hello
from mnc.cluster.ports import Arrival, Heard, Unreachable
from mnc.cluster.strangers import Strangers
from mnc.cluster.wire import Envelope, ForeignMessageError, Stamp, decode, encode
from mnc.drivers.nats.session import NatsSession
from mnc.errors import SinkError
from mnc.raft import NodeId

__all__ = ["NatsTransport"]

_CAPACITY = 256
"""Arrivals that may wait: what a group of nine says in more than a second. Whoever is that late
has nothing to gain from more; what is dropped is said again."""

_CAPACITY_FOR_HELLO = _CAPACITY // 2
"""Many who look for a group, by a mistake, must not take the room of those who are in one."""

_SETTLING_S = 1.0
"""For how long nobody is taken for gone after one's own connection was made: when a broker comes
back, the others need up to a second to come back too (a reconnect is tried every quarter of a
second, and a cluster of brokers needs a moment to tell who listens where)."""

_ASK_AGAIN_S = 2.0
"""How soon a permission is noticed that was missing, by asking."""

_DENIED_LATELY_S = 2 * _ASK_AGAIN_S + 1
"""For how long a denial counts. What is still denied is denied again in that time."""

_NO_RESPONDERS = "503"


class NatsTransport:
    """One instance's messages to and from the others.

    Invariants: `arrivals` holds at most 256, and half as many when a Hello is added; one's own
    Hello doesn't arrive.
    """

    def __init__(self, session: NatsSession, *, cluster: str, node: NodeId, stamp: Stamp) -> None:
        """Prepare. `cluster` and `node` are one token of a subject each."""
        self._session = session
        self._node = node
        self._stamp = stamp
        self._subjects = f"mnc.cluster.{cluster}"
        self._inbox = f"_INBOX.mnc.{node}"
        self._arrive, self._arrivals = trio.open_memory_channel[Arrival](_CAPACITY)
        self._strangers = Strangers()
        self._dropped = 0
        self._log = structlog.get_logger()

    @property
    def arrivals(self) -> trio.MemoryReceiveChannel[Arrival]:
        """What comes in while it runs; what doesn't fit is dropped."""
        return self._arrivals

    @property
    def dropped(self) -> int:
        """How many arrivals found no room."""
        return self._dropped

    @property
    def strangers(self) -> Mapping[str, str]:
        """Who was heard lately and is not of this cluster, with the reason; for people.

        This instance is its own stranger while it may not use the cluster's subjects.
        """
        strangers = dict(self._strangers.heard_lately(trio.current_time()))
        if self._is_denied():
            strangers[self._node] = f"NATS denies {self._subjects}.> to the user of this instance"
        return strangers

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Let messages arrive, whenever there is a connection. Reports started when they do.

        Cancellation: nothing arrives any more, and others are told that this node is unreachable.
        """
        mine, everybodys = self._subject_of(self._node), f"{self._subjects}.hello"
        async with AsyncExitStack() as stack:
            for subject, receive in (
                # The inbox first: whoever is heard may be answered, and be gone.
                (f"{self._inbox}.*", self._on_unheard),
                (mine, self._on_message),
                (everybodys, self._on_message),
            ):
                await stack.enter_async_context(self._session.subscription(subject, receive))
            task_status.started()
            while True:
                await trio.sleep(_ASK_AGAIN_S)
                if self._is_denied():
                    await self._session.subscribe_again(mine)
                    await self._session.subscribe_again(everybodys)

    async def send(self, messages: Sequence[ClusterMessage], *, group: GroupId | None) -> None:
        """Send what can be sent now; see the port.

        They are handed to the client in one crossing, which waits for no socket.
        """
        if not messages:
            return
        posts = [
            (message, encode(Envelope(group=group, message=message), stamp=self._stamp))
            for message in messages
        ]
        with suppress(SinkError):  # disconnected: lost, as on any network
            await self._session.call(self._publish, posts)

    async def _publish(self, client: Client, posts: Sequence[tuple[ClusterMessage, bytes]]) -> None:
        for message, data in posts:
            if len(data) > client.max_payload:  # the server would end the connection
                self._log.error(
                    "cluster.message_too_large",
                    kind=type(message).__name__,
                    size_bytes=len(data),
                    max_payload_bytes=client.max_payload,
                )
            elif isinstance(message, Hello):
                await client.publish(f"{self._subjects}.hello", data)
            else:
                receiver = message.receiver
                await client.publish(
                    self._subject_of(receiver), data, reply=f"{self._inbox}.{receiver}"
                )

    def _is_denied(self) -> bool:
        subject = self._subject_of(self._node)
        return self._session.is_denied(subject, within_s=_DENIED_LATELY_S)

    def _subject_of(self, node: NodeId) -> str:
        return f"{self._subjects}.node.{node}"

    # --- on the asyncio side; they must not raise -----------------------------------------------

    def _on_message(self, message: Msg) -> None:
        try:
            envelope = decode(message.data, stamp=self._stamp)
        except ForeignMessageError as error:
            if self._strangers.note(error.sender, error.reason, now_s=trio.current_time()):
                self._log.warning("cluster.stranger", sender=error.sender, reason=error.reason)
            return
        is_hello = isinstance(envelope.message, Hello)
        if is_hello and envelope.message.sender == self._node:
            return
        self._take(
            Heard(message=envelope.message, group=envelope.group),
            capacity=_CAPACITY_FOR_HELLO if is_hello else _CAPACITY,
        )

    def _on_unheard(self, message: Msg) -> None:
        if (message.headers or {}).get("Status") != _NO_RESPONDERS:
            return
        if self._session.connected_for_s > _SETTLING_S:
            receiver = NodeId(message.subject.rpartition(".")[2])
            self._take(Unreachable(node=receiver), capacity=_CAPACITY)

    def _take(self, arrival: Arrival, *, capacity: int) -> None:
        if self._arrivals.statistics().current_buffer_used >= capacity:
            self._dropped += 1
            return
        # Nobody reads any more when the receiving end is closed.
        with suppress(trio.BrokenResourceError):
            self._arrive.send_nowait(arrival)
