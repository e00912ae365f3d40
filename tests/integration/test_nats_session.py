"""A session with NATS, before there is anything to do with it."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import trio
from tests.servers import StartNatsServer, reload

from mnc.drivers.nats.session import NatsSession

_TEST_TIMEOUT_S = 30.0
_SUBJECT = "mnc.cluster.Shop.hello"
_CONFIG = "authorization: {{users: [{{user: mnc, password: mnc, permissions: {{{}}}}}]}}"


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


async def _until(condition: Callable[[], bool]) -> None:
    while not condition():  # noqa: ASYNC110 - a server's doing
        await trio.sleep(0.02)


async def test_a_subscription_that_was_taken_back_is_made_again(
    start_own_nats: StartNatsServer,
) -> None:
    """Who loses the right to hear a subject, and gets it back, hears it once, without a restart."""
    server = start_own_nats(extra_config=_CONFIG.format(""))
    heard: list[bytes] = []

    async def say(word: bytes) -> None:
        await session.call(lambda client: client.publish(_SUBJECT, word))

    with trio.fail_after(_TEST_TIMEOUT_S):
        async with trio.open_nursery() as nursery:
            session = NatsSession([server.url.replace("://", "://mnc:mnc@")], name="test")
            await nursery.start(session.run)
            await session.wait_connected()
            async with session.subscription(_SUBJECT, lambda message: heard.append(message.data)):
                reload(server, _CONFIG.format(f'subscribe: {{deny: "{_SUBJECT}"}}'))
                await _until(lambda: session.is_denied(_SUBJECT))
                reload(server, _CONFIG.format(""))
                while not heard:
                    await say(b"again")
                    await trio.sleep(0.05)
                await _until(lambda: not session.is_denied(_SUBJECT))
                for word in (b"last", b"end"):
                    await say(word)
                await _until(lambda: b"end" in heard)
            nursery.cancel_scope.cancel()
    assert heard.count(b"last") == 1
