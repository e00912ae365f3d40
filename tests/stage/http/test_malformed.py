"""The guarded server under malformed requests, drawn from a seed that the test's name shows."""

from __future__ import annotations

import random
import socket
import struct
from collections.abc import Callable, Iterator
from contextlib import suppress

import pytest
import trio
from structlog.testing import capture_logs
from tests.stage.http.serving import is_alive, start_server

ATTACKS = 60
AT_ONCE = 15
PATIENCE_S = 0.2
"""How long an attacker waits for an answer."""

UPGRADE_H2C = (
    b"GET /livez HTTP/1.1\r\nHost: test\r\nConnection: Upgrade, HTTP2-Settings\r\n"
    b"Upgrade: h2c\r\nHTTP2-Settings: %s\r\n\r\n"
)
UPGRADE_WEBSOCKET = (
    b"GET /livez HTTP/1.1\r\nHost: test\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n%s\r\n"
)
H2_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
GET_ROOT_H2 = b"\x82\x86\x84\x41\x04test"
"""The headers of a good request, compressed: GET, http, /, the authority "test"."""

Draw = Callable[[random.Random], bytes]


def draw_upgrade(rng: random.Random) -> bytes:
    """Draw an upgrade to h2c or WebSocket with something wrong about it."""
    settings = rng.choice(
        [b"a", b"AAAA", b"", b"\xff\xfe", b"A" * 9000, rng.randbytes(6).hex().encode()]
    )
    body = rng.choice(
        [b"Content-Length: 5\r\n\r\nhello", b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello"]
    )
    return rng.choice(
        [
            UPGRADE_H2C % settings,
            UPGRADE_H2C % b"AAMAAABkAAQAAP__" + H2_PREFACE + rng.randbytes(40),
            UPGRADE_WEBSOCKET % body,
            UPGRADE_WEBSOCKET.replace(b"13", b"99") % b"",
            UPGRADE_WEBSOCKET % b"" + rng.randbytes(20),
            UPGRADE_WEBSOCKET.replace(b"GET", b"POST") % body,
        ]
    )


def draw_head(rng: random.Random) -> bytes:
    """Draw a request whose head breaks the rules: too long, NULs, bad lines, lies."""
    line = rng.choice(
        [
            b"GET /livez HTTP/1.1",
            b"GET  /livez  HTTP/1.1",
            b"GET /li\0vez HTTP/1.1",
            b"GET /\xff\xfe HTTP/1.1",
            b"GET /%ff%00?%zz HTTP/1.1",
            b"GET http://elsewhere/livez HTTP/1.1",
            b"GET /livez HTTP/9.9",
            b"GET /livez",
            b"CONNECT test:1 HTTP/1.1",
            b"\0" * 50,
            b"G" * 20_000,
            b"",
        ]
    )
    header = rng.choice(
        [
            b"Host: test",
            b"Host: test\r\nHost: other",
            b"Host: \xc3\x28[::",
            b"X-Long: " + b"x" * rng.choice([16_000, 17_000, 200_000]),
            b"X: y\r\n" * 5000,
            b"No colon",
            b": no name",
            b"Nul: a\0b",
            b" folded: first",
            b"Host: test\r\nContent-Length: -1",
            b"Host: test\r\nContent-Length: 99999999999999999999",
            b"Host: test\r\nContent-Length: 1\r\nContent-Length: 2",
            b"Host: test\r\nExpect: 100-continue\r\nContent-Length: 9",
        ]
    )
    return (
        line
        + rng.choice([b"\r\n", b"\n", b"\r"])
        + header
        + rng.choice([b"\r\n\r\n", b"\n\n", b""])
    )


def draw_body(rng: random.Random) -> bytes:
    """Draw a request with bad chunking, a body cut short or one that never ends."""
    head = b"%s /health HTTP/1.1\r\nHost: test\r\n" % rng.choice([b"GET", b"POST", b"HEAD"])
    chunked = head + b"Transfer-Encoding: chunked\r\n\r\n"
    return rng.choice(
        [
            chunked + b"zz\r\nhello\r\n0\r\n\r\n",
            chunked + b"-5\r\nhello\r\n",
            chunked + b"5\r\nhello world\r\n",
            chunked + b"f" * 40 + b"\r\n",
            chunked + b"5;" + b"x" * 30_000,
            chunked + b"1\r\nx\r\n" * rng.choice([9, 11, 500]),
            chunked + b"0\r\n" + b"Trailer: t\r\n" * rng.choice([1, 3000]),
            head + b"Transfer-Encoding: gzip, chunked\r\nContent-Length: 3\r\n\r\nabc",
            head + b"Transfer-Encoding: identity\r\n\r\nabc",
            head + b"Content-Length: 1000\r\n\r\n" + rng.randbytes(100),
            head + b"Content-Length: 5\r\n\r\nhello" + rng.randbytes(50),
            (head + b"\r\n") * 30 + rng.randbytes(10),
        ]
    )


def draw_http2(rng: random.Random) -> bytes:
    """Draw an HTTP/2 preface, perhaps cut short, and frames of random types and content."""
    frames = bytearray(b"\0\0\0\4\0\0\0\0\0" if rng.random() < 0.7 else b"")
    for _ in range(rng.randrange(8)):
        payload = rng.choice(
            [rng.randbytes(rng.choice([0, 4, 5, 8, 60])), b"\x82\x86\x84\x41\x04test"]
        )
        kind, flags = rng.randrange(12), rng.choice([0, 1, 4, 5, 0x24, 0x2D, 0xFF])
        length = len(payload) if rng.random() < 0.9 else rng.choice([0, 2**24 - 1])
        frames += struct.pack(">I", length)[1:] + bytes([kind, flags])
        frames += struct.pack(">I", rng.choice([0, 1, 1, 2, 3, 5, 2**31, 2**32 - 1])) + payload
    preface = H2_PREFACE if rng.random() < 0.9 else H2_PREFACE[: rng.randrange(24)]
    return preface + bytes(frames)


def draw_noise(rng: random.Random) -> bytes:
    """Draw random bytes, or a good request with some of its bytes changed."""
    if rng.random() < 0.3:
        return rng.randbytes(rng.choice([1, 100, 70_000]))
    good = UPGRADE_H2C % b"AAMAAABkAAQAAP__" + H2_PREFACE
    mutated = bytearray(rng.choice([good, UPGRADE_WEBSOCKET % b"", good.replace(b"h2c", b"x")]))
    for _ in range(rng.randrange(1, 6)):
        mutated[rng.randrange(len(mutated))] = rng.randrange(256)
    return bytes(mutated)


@pytest.mark.parametrize(
    "request_bytes",
    [UPGRADE_H2C % b"a", UPGRADE_WEBSOCKET % b"Content-Length: 5\r\n\r\nhello"],
    ids=["h2c upgrade with bad settings", "WebSocket upgrade with a body"],
)
async def test_requests_known_to_end_hypercorn_end_their_connection(request_bytes: bytes) -> None:
    """The requests of hypercorn's issue 225 raise an error, and it goes no further than the log."""
    with trio.fail_after(5), capture_logs() as logged:
        async with trio.open_nursery() as serving:
            port = await start_server(serving)
            async with await trio.open_tcp_stream("127.0.0.1", port) as stream:
                await stream.send_all(request_bytes)
                async for _ in stream:
                    pass
            assert await is_alive(port)
            serving.cancel_scope.cancel()
    assert [line["event"] for line in logged] == ["http.connection_failed"]


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("draw", [draw_upgrade, draw_head, draw_body, draw_http2, draw_noise])
async def test_malformed_requests_end_their_own_connections_alone(draw: Draw, seed: int) -> None:
    """After any of them the server answers others, has logged no error, and ends in time."""
    with trio.fail_after(30), capture_logs() as logged:
        async with trio.open_nursery() as serving:
            port = await start_server(serving)
            limit = trio.CapacityLimiter(AT_ONCE)
            async with trio.open_nursery() as attackers:
                for number in range(ATTACKS):
                    # A generator for each, so that their order in time changes nothing.
                    rng = random.Random(f"{seed} {number}")
                    attackers.start_soon(_attack, port, draw(rng), rng, limit)
            assert await is_alive(port)
            began = trio.current_time()
            serving.cancel_scope.cancel()
        assert trio.current_time() - began < 3
    assert {line["log_level"] for line in logged} <= {"debug"}


async def _attack(port: int, data: bytes, rng: random.Random, limit: trio.CapacityLimiter) -> None:
    async with limit, await trio.open_tcp_stream("127.0.0.1", port) as stream:
        with trio.move_on_after(PATIENCE_S), suppress(trio.BrokenResourceError):
            for piece in _pieces(data, rng):
                await stream.send_all(piece)
            if rng.random() < 0.5:
                await stream.send_eof()
            if rng.random() < 0.8:
                async for _ in stream:
                    pass
        if rng.random() < 0.3:
            # Close with a reset instead of a farewell.
            stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def _pieces(data: bytes, rng: random.Random) -> Iterator[bytes]:
    """Split what is sent at random places, so that the server sees it bit by bit."""
    cuts = sorted(rng.randrange(len(data) + 1) for _ in range(rng.choice([0, 0, 1, 5])))
    for start, end in zip([0, *cuts], [*cuts, len(data)], strict=True):
        yield data[start:end]
