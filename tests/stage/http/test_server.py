"""The guarded server: its socket, its bound on connections, its end."""

from __future__ import annotations

import errno
import inspect
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from importlib.metadata import version

import httpx
import pytest
import trio
from hypercorn.config import Config
from hypercorn.trio.tcp_server import TCPServer
from hypercorn.trio.worker_context import WorkerContext
from tests.stage.http.serving import FakeProbes, is_alive, start_server

from mnc.errors import ConfigError
from mnc.http import server
from mnc.http.app import build_app

GET_LIVEZ = b"GET /livez HTTP/1.1\r\nHost: test\r\n\r\n"
STUCK = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\4\0\0\0\0\0"
"""A good start of HTTP/2, after which hypercorn waits for ever: none of its time-outs applies."""

Connect = Callable[[int], Awaitable[trio.SocketStream]]


@pytest.fixture
async def connect() -> AsyncIterator[Connect]:
    """Return a function that opens a connection, which is closed after the test."""
    async with AsyncExitStack() as streams:

        async def open_one(port: int) -> trio.SocketStream:
            stream = await trio.open_tcp_stream("127.0.0.1", port)
            return await streams.enter_async_context(stream)

        yield open_one


async def test_taken_port_is_one_clear_line() -> None:
    """A port in use is reported as the setting, the port and the remedy, in one line."""
    with server.bind("127.0.0.1", 0) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(ConfigError) as raised:
            server.bind("127.0.0.1", port)
    assert raised.value.setting == "HTTP_PORT"
    assert str(raised.value) == (
        f"HTTP_PORT: port {port} is in use by another process; "
        "end that process, or set HTTP_PORT to a free port"
    )


async def test_port_taken_on_one_address_is_taken_on_all() -> None:
    """Listening everywhere fails too when another process has the port on one address."""
    with server.bind("127.0.0.1", 0) as taken, pytest.raises(ConfigError) as raised:
        server.bind("0.0.0.0", taken.getsockname()[1])
    assert raised.value.setting == "HTTP_PORT"


@pytest.mark.parametrize(
    ("code", "setting"),
    [
        (errno.EADDRINUSE, "HTTP_PORT"),
        (errno.EACCES, "HTTP_PORT"),
        (errno.EPERM, "HTTP_PORT"),
        (errno.EADDRNOTAVAIL, "HTTP_HOST"),
        (socket.EAI_NONAME, "HTTP_HOST"),
    ],
)
async def test_refusal_to_listen_names_setting_and_remedy(code: int, setting: str) -> None:
    """Whatever the system objects to, the error names the setting at fault and what to do."""
    explained = server._explain(OSError(code, "objection"), "example.test", 80)
    assert explained.setting == setting
    assert explained.remedy


@pytest.mark.parametrize("host", ["192.0.2.1", "2001:db8::1", "[::1]", "not a host"])
async def test_host_of_no_use_is_one_clear_line(host: str) -> None:
    """An address that this machine doesn't have, or that is none, is a wrong HTTP_HOST."""
    with pytest.raises(ConfigError) as raised:
        server.bind(host, 0)
    assert raised.value.setting == "HTTP_HOST"
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("host", ["0.0.0.0", "::"])
async def test_unspecified_host_is_ipv4_and_ipv6(nursery: trio.Nursery, host: str) -> None:
    """A server on every address is reached over IPv4 and, where there is IPv6, over IPv6."""
    listening = server.bind(host, 0)
    port = listening.getsockname()[1]
    await nursery.start(server.serve, build_app(FakeProbes()), listening)
    hosts = ["127.0.0.1", *(["[::1]"] if _has_ipv6_loopback() else [])]
    with trio.fail_after(5):
        async with httpx.AsyncClient(trust_env=False) as client:
            for address in hosts:
                assert (await client.get(f"http://{address}:{port}/livez")).status_code == 200


def _has_ipv6_loopback() -> bool:
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        return False
    return True


async def test_oldest_connection_makes_room_at_the_bound(
    nursery: trio.Nursery, connect: Connect
) -> None:
    """At the bound a newcomer is served, the oldest connection is closed and the others stay."""
    port = await start_server(nursery, max_connections=3)
    with trio.fail_after(5):
        oldest, *others = [await connect(port) for _ in range(3)]
        assert await is_alive(port)
        assert await oldest.receive_some() == b""
        for stays in others:
            assert await _is_served(stays)


async def test_stuck_connections_do_not_starve_probes(
    nursery: trio.Nursery, connect: Connect
) -> None:
    """A client that holds on to every connection there is keeps no probe from its answer."""
    port = await start_server(nursery, max_connections=3)
    with trio.fail_after(5):
        for _ in range(10):
            await (await connect(port)).send_all(STUCK)
        for _ in range(5):
            assert await is_alive(port)


async def test_slow_head_is_cut_off(nursery: trio.Nursery, connect: Connect) -> None:
    """A client that trickles its head byte by byte is cut off after the keep-alive time."""
    port = await start_server(nursery)
    began = trio.current_time()
    with trio.fail_after(5):
        slow = await connect(port)
        with pytest.raises(trio.BrokenResourceError):
            await _trickle(slow, b"GET /livez HTTP/1.1\r\nX-Slow: " + b"z" * 1000)
    assert trio.current_time() - began == pytest.approx(server._KEEP_ALIVE_S, abs=1)


async def test_end_does_not_wait_for_idle_connections(connect: Connect) -> None:
    """Cancelled with idle keep-alive connections open, the server closes them and ends at once."""
    with trio.fail_after(5):
        async with trio.open_nursery() as serving:
            port = await start_server(serving)
            fresh, used = await connect(port), await connect(port)
            assert await _is_served(used)
            began = trio.current_time()
            serving.cancel_scope.cancel()
        assert trio.current_time() - began < 0.5
        assert await fresh.receive_some() == b""
        assert await used.receive_some() == b""


async def test_end_finishes_the_answer_under_way(connect: Connect) -> None:
    """Cancelled while a request is being answered, the server sends that answer first."""
    asked, go_on = trio.Event(), trio.Event()

    async def check() -> None:
        asked.set()
        await go_on.wait()

    with trio.fail_after(5):
        async with trio.open_nursery() as serving:
            port = await start_server(serving, build_app(FakeProbes(checks={"nats": check})))
            client = await connect(port)
            await client.send_all(b"GET /health HTTP/1.1\r\nHost: test\r\n\r\n")
            await asked.wait()
            serving.cancel_scope.cancel()
            go_on.set()
        answer = b"".join([data async for data in client])
    assert answer.startswith(b"HTTP/1.1 200")
    assert answer.endswith(b'{"nats":"UP"}')


async def test_end_is_bounded_when_a_client_does_not_read(connect: Connect) -> None:
    """A client that asks for much and reads nothing holds the end up for the grace, no longer."""
    app = build_app(FakeProbes(exposition=bytes(64 * 2**20)))
    with trio.fail_after(10):
        async with trio.open_nursery() as serving:
            port = await start_server(serving, app)
            client = await connect(port)
            await client.send_all(b"GET /metrics HTTP/1.1\r\nHost: test\r\n\r\n")
            await client.receive_some(1)
            began = trio.current_time()
            serving.cancel_scope.cancel()
        assert trio.current_time() - began < 3


async def test_end_frees_the_port() -> None:
    """After the end nobody listens, and the port can be bound again."""
    with trio.fail_after(5):
        async with trio.open_nursery() as serving:
            port = await start_server(serving)
            assert await is_alive(port)
            serving.cancel_scope.cancel()
    server.bind("127.0.0.1", port).close()


async def test_hypercorn_internals_are_those_that_the_guard_knows() -> None:
    """The guard uses what hypercorn promises to nobody: a new version is read before it is used."""
    assert version("hypercorn") == "0.18.0"
    assert [*inspect.signature(TCPServer).parameters] == [
        "app",
        "config",
        "context",
        "state",
        "stream",
    ]
    assert inspect.iscoroutinefunction(TCPServer.run)
    assert [*inspect.signature(WorkerContext).parameters] == ["max_requests"]
    assert inspect.iscoroutinefunction(WorkerContext(None).terminated.set)
    for option in ("keep_alive_timeout", "include_server_header", "errorlog"):
        assert hasattr(Config, option)


async def _trickle(stream: trio.SocketStream, data: bytes) -> None:
    for byte in data:
        await stream.send_all(bytes([byte]))
        await trio.sleep(0.05)


async def _is_served(stream: trio.SocketStream) -> bool:
    await stream.send_all(GET_LIVEZ)
    answer = bytearray()
    while not answer.endswith(b'{"status":"alive"}'):
        data = await stream.receive_some()
        if not data:
            return False
        answer += data
    return True
