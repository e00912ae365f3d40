"""A session with NATS, before there is anything to do with it."""

from __future__ import annotations

from functools import partial

import trio

from mnc.drivers.nats.session import NatsSession

_TEST_TIMEOUT_S = 30.0


async def test_a_greeting_that_breaks_off_is_tried_again() -> None:
    """Wherever a connection is cut before the login, there is another one, and a reason."""
    greeting = b'INFO {"server_id":"x","max_payload":1}'
    cuts = [b"", b"I", b"INFO", b"INFO ", greeting[:20], greeting, b"+OK\r\n"]

    async def greet(stream: trio.SocketStream) -> None:
        if cuts:
            await stream.send_all(cuts.pop())
        else:
            listening.cancel()
        await stream.aclose()

    with trio.fail_after(_TEST_TIMEOUT_S), trio.CancelScope() as listening:
        async with trio.open_nursery() as nursery:
            listeners = await nursery.start(partial(trio.serve_tcp, greet, 0, host="127.0.0.1"))
            port = listeners[0].socket.getsockname()[1]
            session = NatsSession([f"nats://127.0.0.1:{port}"], name="test")
            nursery.start_soon(session.run)
    assert session.last_error is not None
