"""A TCP proxy on 127.0.0.1 that passes bytes on, or doesn't: the network's faults.

Theory of operation. Each connection has, each way, a task that reads chunks and stamps them with
the time at which they are due, a bounded queue, and a task that delivers them. The conditions of a
direction (delay, pace, flow, a pending cut) are shared by all connections and looked at for every
slice, so that `inject` is in effect when it returns: no byte passes any more that may not. When a
queue is full, reading stops, and TCP's own back-pressure reaches the sender.

A proxy belongs to one trio run; `mnc`'s synchronous tests use one in a thread: `thread.threaded`.

What differs from a network: a connection is accepted although the server is away, and is reset
then; and what was acknowledged to the sender may still be on the way here.
"""

from __future__ import annotations

import random
from contextlib import suppress
from dataclasses import dataclass
from typing import Final, Literal, NamedTuple

import trio
from tests.injection.connection import LAST_BYTES, Connection
from tests.injection.faults import (
    BOTH_WAYS,
    Cut,
    Delay,
    Direction,
    Fault,
    Heal,
    Hold,
    Refuse,
    Strand,
    Swallow,
    Throttle,
    Trap,
)
from tests.injection.sockets import HOST, bind, close, fix_buffers
from tests.injection.way import Way
from trio_util import AsyncValue

__all__ = ["MAX_CONNECTIONS", "Proxy", "ProxyStatistics"]

MAX_CONNECTIONS = 128
"""More wait to be accepted. With the bounds below the proxy holds at most 64 MiB."""

_CHUNK_BYTES = 16 * 1024
_QUEUE_CHUNKS = 16
"""256 KiB each way of a connection: a long link's window, so that delays cost throughput."""

_End = Literal["eof", "reset"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ProxyStatistics:
    """What a proxy has done so far."""

    connections_accepted: int
    connections_open: int
    cuts: int
    """Cuts that came true, however many connections each of them ended."""
    traps_sprung: int
    bytes_to_server: int
    bytes_to_client: int
    bytes_swallowed: int


class _Chunk(NamedTuple):
    """What was read, and when it is due; the end of a connection is one too."""

    due_at: float
    content: bytes | _End


class Proxy:
    """Carry connections from a port of its own to a server's port.

    All but `run` returns at once and belongs into the thread that `run` runs in.

    Invariants: `port` is this proxy's for its lifetime, also while it refuses connections; the
    random choices are those of `seed`.
    """

    def __init__(self, server_port: int, *, seed: int = 0) -> None:
        self._server_port = server_port
        self._rng = random.Random(seed)
        self._ways: dict[Direction, Way] = {direction: Way() for direction in BOTH_WAYS}
        self._connections: set[Connection] = set()
        self._accepted = 0
        self._cuts = 0
        # Bound and never listening, it keeps the port while no listener does.
        self._holder = bind(0)
        self.port: Final[int] = self._holder.getsockname()[1]
        self._listener: AsyncValue[trio.SocketListener | None] = AsyncValue(None)

    def statistics(self) -> ProxyStatistics:
        """Return what was done so far."""
        return ProxyStatistics(
            connections_accepted=self._accepted,
            connections_open=len(self._connections),
            cuts=self._cuts,
            traps_sprung=sum(way.traps_sprung for way in self._ways.values()),
            bytes_to_server=self._ways["to_server"].passed,
            bytes_to_client=self._ways["to_client"].passed,
            bytes_swallowed=sum(way.swallowed for way in self._ways.values()),
        )

    def inject(self, fault: Fault, /) -> None:
        """Let `fault` happen; see `Target.inject`."""
        match fault:
            case Delay() | Throttle() | Hold() | Swallow():
                for direction in fault.directions:
                    self._ways[direction].apply(fault)
            case Cut(after_bytes=None):
                self._cut(fault)
            case Cut(after_bytes=int(count)):
                way = self._ways[fault.direction]
                way.cut, way.cut_at = fault, way.passed + count
            case Trap():
                assert 1 < len(fault.pattern) <= LAST_BYTES
                self._ways[fault.direction].trap = fault
            case Strand():
                for connection in self._connections:
                    connection.stranded.value = True
            case Refuse():
                self._close_listener()
                if fault.cut:
                    self._cut(Cut())
            case Heal():
                self._heal(fault.directions)
            case _:
                raise TypeError(f"{fault} can't happen to a link")

    async def run(self, *, task_status: trio.TaskStatus[int] = trio.TASK_STATUS_IGNORED) -> None:
        """Serve until cancelled. Reports started with the port.

        Cancellation: all connections are reset.
        """
        limiter = trio.Semaphore(MAX_CONNECTIONS)
        try:
            self._open_listener()
            task_status.started(self.port)
            async with trio.open_nursery() as nursery:
                while True:
                    await limiter.acquire()
                    nursery.start_soon(self._serve, await self._accept(), limiter)
        finally:
            self._close_listener()
            self._holder.close()

    # --- connections ------------------------------------------------------------------------------

    async def _accept(self) -> trio.SocketStream:
        while True:
            listener = await self._listener.wait_value(lambda listener: listener is not None)
            with suppress(trio.ClosedResourceError):  # by `Refuse`
                accepted: trio.SocketStream = await listener.accept()
                return accepted

    async def _serve(self, client: trio.SocketStream, limiter: trio.Semaphore) -> None:
        self._accepted += 1
        try:
            server = await self._connect()
            if server is None:
                return
            connection = Connection(client=client, server=server)
            self._connections.add(connection)
            try:
                with connection.scope:
                    async with trio.open_nursery() as nursery:
                        for direction in BOTH_WAYS:
                            nursery.start_soon(self._carry, connection, direction)
                    # Each side has ended in an orderly way, and was told that the other has.
                    self._end(connection, reset=False)
            finally:
                self._end(connection, reset=True)
        finally:
            close(client, reset=True)
            limiter.release()

    async def _connect(self) -> trio.SocketStream | None:
        """Connect to the server; None when it is away."""
        upstream = trio.socket.socket()
        fix_buffers(upstream)
        try:
            await upstream.connect((HOST, self._server_port))
        except OSError:
            upstream.close()
            return None
        return trio.SocketStream(upstream)

    def _end(self, connection: Connection, *, reset: bool) -> None:
        """End both sides at once; nothing when they have ended."""
        self._connections.discard(connection)
        connection.close(reset=reset)

    async def _carry(self, connection: Connection, direction: Direction) -> None:
        """Carry the bytes of one connection in one direction, and its end."""
        sender, receiver = trio.open_memory_channel[_Chunk](_QUEUE_CHUNKS)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(
                self._read, connection.ends(direction)[0], self._ways[direction], sender
            )
            async for chunk in receiver:
                await trio.sleep_until(chunk.due_at)
                if isinstance(chunk.content, bytes):
                    await self._deliver(chunk.content, connection, direction)
                else:
                    await self._deliver_end(chunk.content, connection, direction)

    async def _read(
        self, source: trio.SocketStream, way: Way, sender: trio.MemorySendChannel[_Chunk]
    ) -> None:
        with sender:
            while True:
                try:
                    content: bytes | _End = await source.receive_some(_CHUNK_BYTES) or "eof"
                except trio.ClosedResourceError:  # by a cut
                    return
                except trio.BrokenResourceError:
                    content = "reset"
                late_s = way.delay_s + self._rng.uniform(-way.jitter_s, way.jitter_s)
                await sender.send(_Chunk(trio.current_time() + late_s, content))
                if not isinstance(content, bytes):
                    return

    async def _deliver(self, content: bytes, connection: Connection, direction: Direction) -> None:
        way, sink = self._ways[direction], connection.ends(direction)[1]
        rest = memoryview(content)
        while rest:
            await connection.wait_passable(way)
            piece = await way.pace(rest)
            # From here to the sending nothing waits, so that no fault can come between.
            if connection.is_held(way):
                continue
            match way.flow.value:
                case "swallow":
                    connection.gaps.add(direction)
                    way.swallowed += len(piece)
                case "pass":
                    if way.cut is not None:
                        piece = piece[: way.cut_at - way.passed]
                        if not piece:
                            self._cut(way.cut)
                            return
                    piece = way.before_trap(connection.last[direction], piece)
                    if not piece:
                        way.spring()
                        continue
                    connection.note(piece, direction)
                    way.passed += len(piece)
                    # When the sink has broken, its own end comes the other way.
                    with suppress(trio.BrokenResourceError, trio.ClosedResourceError):
                        await sink.send_all(piece)
            rest = rest[len(piece) :]

    async def _deliver_end(self, end: _End, connection: Connection, direction: Direction) -> None:
        way, sink = self._ways[direction], connection.ends(direction)[1]
        await connection.wait_passable(way)
        if way.flow.value == "swallow":
            connection.gaps.add(direction)
            await trio.sleep_forever()  # until `Heal` cuts it
        if end == "reset":
            self._end(connection, reset=True)
            return
        with suppress(trio.BrokenResourceError, trio.ClosedResourceError):
            await sink.send_eof()

    # --- faults -----------------------------------------------------------------------------------

    def _cut(self, cut: Cut) -> None:
        self._cuts += 1
        self._ways[cut.direction].cut = None
        for connection in list(self._connections):
            self._end(connection, reset=cut.reset)

    def _heal(self, directions: tuple[Direction, ...]) -> None:
        for direction in directions:
            self._ways[direction].heal()
        for connection in list(self._connections):
            connection.stranded.value = False
            if not connection.gaps.isdisjoint(directions):
                self._end(connection, reset=True)
        if self._listener.value is None:
            self._open_listener()

    def _open_listener(self) -> None:
        listener = bind(self.port)
        listener.listen()
        self._listener.value = trio.SocketListener(trio.socket.from_stdlib_socket(listener))

    def _close_listener(self) -> None:
        listener, self._listener.value = self._listener.value, None
        if listener is not None:
            listener.socket.close()
