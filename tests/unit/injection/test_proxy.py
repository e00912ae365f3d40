"""The proxy does to a connection what a fault says, exactly that, and until it is healed."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import dataclass

import pytest
import trio
import trio.testing
from tests.injection.faults import (
    BOTH_WAYS,
    Cut,
    Delay,
    Direction,
    Heal,
    Hold,
    Kill,
    LinkFault,
    Refuse,
    Strand,
    Swallow,
    Throttle,
    Trap,
)
from tests.injection.proxy import MAX_CONNECTIONS, Proxy

HOST = "127.0.0.1"
TIMEOUT_S = 20
A_WHILE_S = 0.1
"""Longer than a byte takes when nothing is wrong."""

MIB = 1024 * 1024

EACH_WAY = pytest.mark.parametrize("direction", BOTH_WAYS)


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """Both ends of a connection through the proxy."""

    client: trio.SocketStream
    server: trio.SocketStream

    def ends(self, direction: Direction) -> tuple[trio.SocketStream, trio.SocketStream]:
        """Return who sends in this direction and who receives."""
        if direction == "to_server":
            return self.client, self.server
        return self.server, self.client

    async def passes(self, direction: Direction) -> bool:
        """Say whether a byte arrives in a while."""
        source, sink = self.ends(direction)
        await source.send_all(b"?")
        with trio.move_on_after(A_WHILE_S):
            return await sink.receive_some(1) == b"?"
        return False


class Link:
    """A proxy, and connections through it."""

    def __init__(
        self, proxy: Proxy, accepted: trio.MemoryReceiveChannel[trio.SocketStream]
    ) -> None:
        self.proxy = proxy
        self._accepted = accepted
        self._opened: list[trio.SocketStream] = []

    async def connect(self) -> Pair:
        """Open a connection through the proxy."""
        return Pair(client=await self.open(), server=await self.accept())

    async def open(self) -> trio.SocketStream:
        """Open a client's end."""
        self._opened.append(await trio.open_tcp_stream(HOST, self.proxy.port))
        return self._opened[-1]

    async def accept(self) -> trio.SocketStream:
        """Return the server's end of the next connection."""
        self._opened.append(await self._accepted.receive())
        return self._opened[-1]

    def close(self) -> None:
        """Close what is still open."""
        for stream in self._opened:
            stream.socket.close()


@pytest.fixture
async def link(nursery: trio.Nursery) -> AsyncIterator[Link]:
    """Run a proxy to a server that hands out its ends of the connections; fail after a while."""
    sender, accepted = trio.open_memory_channel[trio.SocketStream](MAX_CONNECTIONS + 1)

    async def hand_out(stream: trio.SocketStream) -> None:
        await sender.send(stream)
        await trio.sleep_forever()

    async def expire() -> None:
        await trio.sleep(TIMEOUT_S)
        raise trio.TooSlowError

    (listener,) = await trio.open_tcp_listeners(0, host=HOST)
    nursery.start_soon(trio.serve_listeners, hand_out, [listener])
    nursery.start_soon(expire)
    proxy = Proxy(listener.socket.getsockname()[1], seed=1)
    await nursery.start(proxy.run)
    link = Link(proxy, accepted)
    yield link
    nursery.cancel_scope.cancel()
    link.close()


async def read_to_end(stream: trio.SocketStream) -> tuple[bytes, str]:
    """Return what still comes, and how it ends."""
    content = bytearray()
    try:
        async for data in stream:
            content += data
    except trio.BrokenResourceError:
        return bytes(content), "reset"
    return bytes(content), "eof"


async def test_without_a_fault_everything_passes(link: Link) -> None:
    """Bytes of any number pass both ways at once, unchanged, in order and counted."""
    pair = await link.connect()
    sent = {direction: random.Random(direction).randbytes(3 * MIB) for direction in BOTH_WAYS}
    received: dict[Direction, bytes] = {}

    async def send(direction: Direction) -> None:
        source = pair.ends(direction)[0]
        await source.send_all(sent[direction])
        await source.send_eof()

    async def receive(direction: Direction) -> None:
        received[direction], end = await read_to_end(pair.ends(direction)[1])
        assert end == "eof"

    async with trio.open_nursery() as nursery:
        for direction in BOTH_WAYS:
            nursery.start_soon(send, direction)
            nursery.start_soon(receive, direction)
    assert received == sent
    statistics = link.proxy.statistics()
    assert statistics.bytes_to_server == statistics.bytes_to_client == 3 * MIB
    assert statistics.bytes_swallowed == 0
    assert statistics.connections_accepted == 1


@EACH_WAY
async def test_delay_makes_bytes_late_in_one_direction(link: Link, direction: Direction) -> None:
    """Each byte takes at least the delay less the jitter, and none overtakes another."""
    pair = await link.connect()
    link.proxy.inject(Delay(delay_s=0.1, jitter_s=0.05, directions=(direction,)))
    source, sink = pair.ends(direction)
    started_at = trio.current_time()
    sent = b""
    for number in range(20):
        await source.send_all(bytes([number]))
        sent += bytes([number])
        await trio.sleep(0.005)
    received = b""
    while len(received) < len(sent):
        received += await sink.receive_some(1)
        assert trio.current_time() - started_at > 0.05
    assert received == sent


async def test_delay_holds_for_its_direction_alone(link: Link) -> None:
    """The other direction is as quick as before."""
    pair = await link.connect()
    link.proxy.inject(Delay(delay_s=5, directions=("to_server",)))
    assert await pair.passes("to_client")
    assert not await pair.passes("to_server")


@EACH_WAY
async def test_throttle_bounds_the_rate_over_all_connections(
    link: Link, direction: Direction
) -> None:
    """Two connections share the rate of the link; the other direction is free."""
    pairs = [await link.connect(), await link.connect()]
    rate, size = 200_000, 30_000
    link.proxy.inject(Throttle(bytes_per_s=rate, directions=(direction,)))
    started_at = trio.current_time()

    async def transfer(pair: Pair) -> None:
        source, sink = pair.ends(direction)
        await source.send_all(bytes(size))
        received = 0
        while received < size:
            received += len(await sink.receive_some())

    async with trio.open_nursery() as nursery:
        for pair in pairs:
            nursery.start_soon(transfer, pair)
    assert trio.current_time() - started_at > 0.9 * len(pairs) * size / rate


@EACH_WAY
async def test_hold_keeps_bytes_and_heal_delivers_them(link: Link, direction: Direction) -> None:
    """Nothing passes in this direction, all passes in the other, and nothing is lost."""
    pair = await link.connect()
    source, sink = pair.ends(direction)
    other: Direction = "to_client" if direction == "to_server" else "to_server"
    link.proxy.inject(Hold(directions=(direction,)))
    assert not await pair.passes(direction)
    assert await pair.passes(other)
    await source.send_all(b"!")
    await source.send_eof()
    link.proxy.inject(Heal())
    assert await read_to_end(sink) == (b"?!", "eof")


@pytest.mark.parametrize("fault", [Hold(), Strand()])
async def test_hold_stops_a_slow_transfer_at_once(link: Link, fault: LinkFault) -> None:
    """Not one byte passes after the injection, also when one was just about to."""
    pair = await link.connect()
    link.proxy.inject(Throttle(bytes_per_s=100))
    await pair.client.send_all(bytes(100))
    received = len(await pair.server.receive_some())
    await trio.testing.wait_all_tasks_blocked()
    link.proxy.inject(fault)
    passed = link.proxy.statistics().bytes_to_server
    await trio.sleep(A_WHILE_S)
    assert link.proxy.statistics().bytes_to_server == passed
    link.proxy.inject(Heal())
    await pair.client.send_eof()
    content, _ = await read_to_end(pair.server)
    assert received + len(content) == 100


async def test_hold_is_felt_by_the_sender(link: Link) -> None:
    """A sender is stopped when the buffers on the way are full: the proxy's own are bounded."""
    pair = await link.connect()
    link.proxy.inject(Hold(directions=("to_server",)))
    taken = 0
    with trio.move_on_after(0.5):
        while True:
            taken += await pair.client.socket.send(bytes(64 * 1024))
    assert taken < 16 * MIB
    assert link.proxy.statistics().bytes_to_server == 0
    link.proxy.inject(Heal())
    await pair.client.send_eof()
    content, _ = await read_to_end(pair.server)
    assert len(content) == taken


async def test_hold_keeps_the_end_of_a_connection_too(link: Link) -> None:
    """A peer that closes, or dies, behind a broken network is not missed until it heals."""
    for reset in (False, True):
        pair = await link.connect()
        link.proxy.inject(Hold())
        if reset:
            reset_on_close(pair.client)
        await pair.client.aclose()
        with trio.move_on_after(A_WHILE_S):
            raise AssertionError(await read_to_end(pair.server))
        link.proxy.inject(Heal())
        assert await read_to_end(pair.server) == (b"", "reset" if reset else "eof")


def reset_on_close(stream: trio.SocketStream) -> None:
    """Let a stream end with a reset."""
    stream.socket.setsockopt(trio.socket.SOL_SOCKET, trio.socket.SO_LINGER, b"\1\0\0\0" + bytes(4))


@EACH_WAY
async def test_swallow_loses_bytes_and_heal_cuts_who_has_lost_some(
    link: Link, direction: Direction
) -> None:
    """A connection never goes on with a gap; one that has lost nothing does go on."""
    pair, idle = await link.connect(), await link.connect()
    other: Direction = "to_client" if direction == "to_server" else "to_server"
    link.proxy.inject(Swallow(directions=(direction,)))
    assert not await pair.passes(direction)
    assert await pair.passes(other)
    assert link.proxy.statistics().bytes_swallowed == 1
    link.proxy.inject(Heal(directions=(other,)))
    assert not await pair.passes(direction)
    link.proxy.inject(Heal(directions=(direction,)))
    for end in (pair.client, pair.server):
        assert await read_to_end(end) == (b"", "reset")
    assert await idle.passes(direction)


async def test_swallow_loses_the_end_of_a_connection_too(link: Link) -> None:
    """Nobody hears that the other side has ended, until the network heals."""
    pair = await link.connect()
    link.proxy.inject(Swallow())
    for end in (pair.client, pair.server):
        await end.send_eof()
    for end in (pair.client, pair.server):
        with trio.move_on_after(A_WHILE_S):
            raise AssertionError(await read_to_end(end))
    link.proxy.inject(Heal())
    for end in (pair.client, pair.server):
        assert await read_to_end(end) == (b"", "reset")


async def test_stranded_connections_are_held_and_new_ones_pass(link: Link) -> None:
    """Old connections carry nothing, not even an end, until they are healed, and lose nothing."""
    old = await link.connect()
    link.proxy.inject(Strand())
    new = await link.connect()
    for direction in BOTH_WAYS:
        assert not await old.passes(direction)
        assert await new.passes(direction)
    await old.client.aclose()
    with trio.move_on_after(A_WHILE_S):
        assert (await old.server.receive_some()) is None
    link.proxy.inject(Heal())
    assert (await read_to_end(old.server))[0] == b"?"


@EACH_WAY
@pytest.mark.parametrize("after_bytes", [0, 1, 1000, 70_000])
@pytest.mark.parametrize("reset", [True, False])
async def test_cut_comes_after_exactly_so_many_bytes(
    link: Link, direction: Direction, after_bytes: int, reset: bool
) -> None:
    """Bytes before the injection don't count, nor do those of the other direction."""
    pair = await link.connect()
    source, sink = pair.ends(direction)
    assert await pair.passes(direction)
    link.proxy.inject(Cut(after_bytes=after_bytes, direction=direction, reset=reset))
    assert await pair.passes("to_client" if direction == "to_server" else "to_server")
    await source.send_all(bytes(after_bytes))
    received = 0
    while received < after_bytes:
        received += len(await sink.receive_some())
    assert link.proxy.statistics().cuts == 0
    with suppress(trio.BrokenResourceError):
        await source.send_all(bytes(100))
    assert await read_to_end(sink) == (b"", "reset" if reset else "eof")
    assert (await read_to_end(source))[0] == b""
    statistics = link.proxy.statistics()
    assert (statistics.cuts, statistics.connections_open) == (1, 0)
    assert await (await link.connect()).passes(direction)


@pytest.mark.parametrize("fault", [None, Hold(), Swallow(), Delay(delay_s=9)])
async def test_cut_now_ends_all_connections(link: Link, fault: LinkFault | None) -> None:
    """Every connection that was open ends at once, whatever else is wrong; others may follow."""
    pairs = [await link.connect() for _ in range(3)]
    if fault is not None:
        link.proxy.inject(fault)
    for pair in pairs:
        await pair.client.send_all(b"late")
    link.proxy.inject(Cut())
    assert link.proxy.statistics().connections_open == 0
    for pair in pairs:
        assert (await read_to_end(pair.client))[1] == "reset"
        assert (await read_to_end(pair.server))[1] == "reset"
    link.proxy.inject(Heal())
    assert await (await link.connect()).passes("to_server")


async def test_heal_takes_a_pending_cut_back(link: Link) -> None:
    """What was not yet due never comes."""
    pair = await link.connect()
    link.proxy.inject(Cut(after_bytes=1))
    link.proxy.inject(Heal())
    for _ in range(3):
        assert await pair.passes("to_server")


@EACH_WAY
@pytest.mark.parametrize(
    "sent", [[b"one stop two"], [b"one st", b"op two"], [b"one ", b"stop two"]]
)
async def test_trap_holds_what_comes_with_its_pattern(
    link: Link, direction: Direction, sent: list[bytes]
) -> None:
    """What comes before passes, however the pattern is cut in pieces; healing lets the rest go."""
    pair = await link.connect()
    source, sink = pair.ends(direction)
    link.proxy.inject(Trap(pattern=b"stop", direction=direction))
    received = b""
    for piece in sent:
        await source.send_all(piece)
        with trio.move_on_after(A_WHILE_S):
            while True:
                received += await sink.receive_some()
    assert received in (b"one ", b"one st")
    assert link.proxy.statistics().traps_sprung == 1
    link.proxy.inject(Heal())
    await source.send_all(b" stop three")
    await source.send_eof()
    assert received + (await read_to_end(sink))[0] == b"one stop two stop three"


async def test_trap_is_for_what_comes_after_it(link: Link) -> None:
    """A pattern that has passed springs no trap."""
    pair = await link.connect()
    await pair.client.send_all(b"stop")
    assert await pair.server.receive_some() == b"stop"
    link.proxy.inject(Trap(pattern=b"stop"))
    for _ in range(3):
        assert await pair.passes("to_server")


async def test_refuse_holds_for_new_connections_alone(link: Link) -> None:
    """Connections go on, new ones are refused, and after healing the port is the same."""
    pair = await link.connect()
    link.proxy.inject(Refuse())
    with pytest.raises(OSError, match="all attempts to connect"):
        await link.connect()
    assert await pair.passes("to_server")
    link.proxy.inject(Heal())
    assert await (await link.connect()).passes("to_server")


async def test_refuse_can_end_connections_too(link: Link) -> None:
    """As a server that has ended: what was open is reset, what comes is refused."""
    pair = await link.connect()
    link.proxy.inject(Refuse(cut=True))
    assert (await read_to_end(pair.client))[1] == "reset"
    with pytest.raises(OSError, match="all attempts to connect"):
        await link.connect()
    link.proxy.inject(Heal())
    assert await (await link.connect()).passes("to_server")


async def test_ends_pass_each_way_on_their_own(link: Link) -> None:
    """A half-closed connection still carries the answer."""
    pair = await link.connect()
    await pair.client.send_all(b"question")
    await pair.client.send_eof()
    assert await read_to_end(pair.server) == (b"question", "eof")
    await pair.server.send_all(b"answer")
    await pair.server.aclose()
    assert await read_to_end(pair.client) == (b"answer", "eof")


async def test_reset_passes(link: Link) -> None:
    """A peer's crash reaches the other one as a reset."""
    pair = await link.connect()
    reset_on_close(pair.server)
    await pair.server.aclose()
    assert await read_to_end(pair.client) == (b"", "reset")


async def test_absent_server_resets_clients(nursery: trio.Nursery) -> None:
    """A client finds out at once that there is no server, and the proxy lives on."""
    (listener,) = await trio.open_tcp_listeners(0, host=HOST)
    port = listener.socket.getsockname()[1]
    await listener.aclose()
    proxy = Proxy(port)
    with trio.fail_after(TIMEOUT_S):
        await nursery.start(proxy.run)
        for _ in range(3):
            async with await trio.open_tcp_stream(HOST, proxy.port) as client:
                assert await read_to_end(client) == (b"", "reset")


async def test_connections_are_bounded(link: Link) -> None:
    """One connection too many is carried as soon as another has ended."""
    pairs = [await link.connect() for _ in range(MAX_CONNECTIONS)]
    client = await link.open()
    with trio.move_on_after(A_WHILE_S):
        raise AssertionError(await link.accept())
    for end in (pairs[0].client, pairs[0].server):
        await end.aclose()
    await client.send_all(b"first")
    server = await link.accept()
    assert await server.receive_some() == b"first"


async def test_cancelled_proxy_resets_its_connections() -> None:
    """Nothing is left behind, and the port is free."""
    (listener,) = await trio.open_tcp_listeners(0, host=HOST)
    proxy = Proxy(listener.socket.getsockname()[1])
    with trio.fail_after(TIMEOUT_S):
        async with trio.open_nursery() as own:
            await own.start(proxy.run)
            client = await trio.open_tcp_stream(HOST, proxy.port)
            server = await listener.accept()
            own.cancel_scope.cancel()
        await listener.aclose()
        for end in (client, server):
            async with end:
                assert await read_to_end(end) == (b"", "reset")
    (reused,) = await trio.open_tcp_listeners(proxy.port, host=HOST)
    await reused.aclose()


async def test_faults_of_a_process_are_none_of_a_link(link: Link) -> None:
    """A fault in the wrong place is an error of the test."""
    with pytest.raises(TypeError, match="Kill"):
        link.proxy.inject(Kill())
