"""A session with NATS that outlives its connections and its clients.

Theory of operation. One trio-asyncio loop owns one nats-py client. The rest of the program is pure
trio and crosses over with `NatsSession.call`, once for a whole batch. The client reconnects for
ever by itself; when the server closes it for good (any `-ERR` does), the session makes a new one.
Requests in flight when the connection breaks fail at once, as "outcome unknown", instead of at
their time-out.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Concatenate, ParamSpec, TypeVar

import nats.errors
import structlog
import trio
import trio_asyncio
from nats.aio.client import Client
from nats.aio.msg import Msg
from trio_util import AsyncValue

from mnc.errors import (
    OutcomeUnknownError,
    PayloadTooLargeError,
    SinkError,
    SinkUnavailableError,
)

__all__ = ["NatsSession"]

_P = ParamSpec("_P")
_T = TypeVar("_T")

_CONNECT_TIMEOUT_S = 3
_RECONNECT_WAIT_S = 0.25
"""A broker that restarts is found again within about this time."""

_PING_INTERVAL_S = 1
_MAX_OUTSTANDING_PINGS = 2
"""A dead connection that looks alive is noticed after about three seconds."""

_CLOSE_S = 2.0

_REFUSALS = {
    "authorization": "authorization violation: check the credentials in NATS_SERVER_URL",
    "authentication": "authentication failed: check the credentials in NATS_SERVER_URL",
    "permissions violation": (
        "permissions violation: the user in NATS_SERVER_URL lacks a subject that mnc needs"
    ),
    "maximum connections exceeded": "the server has as many connections as it allows",
}
"""What a server's refusals say, and what is shown in their place."""


class NatsSession:
    """Keep one connection to NATS, whatever happens to it.

    Invariants: there is at most one client; `connected` is true only while it has a connection.
    """

    def __init__(self, servers: Sequence[str], *, name: str) -> None:
        self._servers = list(servers)
        self._name = name
        self._loop: trio_asyncio.TrioEventLoop | None = None
        self._client: Client | None = None
        self._outage = asyncio.Event()
        self._connected = AsyncValue(False)
        self._closed = AsyncValue(False)
        self._last_error: str | None = None
        self._log = structlog.get_logger()

    @property
    def last_error(self) -> str | None:
        """The kind of the last connection error, without addresses; None when connected."""
        return None if self._connected.value else self._last_error

    @property
    def max_payload_bytes(self) -> int:
        """The broker's `max_payload`, which counts headers and payload together."""
        return self._require_client().max_payload

    @property
    def server_version(self) -> tuple[int, int, int]:
        """The version of the server that the client is connected to."""
        version = self._require_client().connected_server_version
        return version.major, version.minor, version.patch

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Own the asyncio loop and the client, until cancelled. Reports started with the loop open.

        Cancellation: the client is closed, within two seconds.
        """
        async with trio_asyncio.open_loop() as loop:
            # Raised here, an asyncio task's error would end the whole program at a random time.
            loop.set_exception_handler(self._on_loop_error)
            self._loop = loop
            try:
                task_status.started()
                while True:
                    await self._run_client(loop)
            finally:
                self._loop = None

    async def wait_connected(self) -> None:
        """Return when there is a connection."""
        await self._connected.wait_value(True)

    async def call(
        self,
        function: Callable[Concatenate[Client, _P], Awaitable[_T]],
        *args: _P.args,
        **kwargs: _P.kwargs,
    ) -> _T:
        """Run an asyncio function on the client, in one crossing.

        Raises SinkUnavailableError when there is no connection, or what `function` raises, with
        nats-py's errors translated.

        Cancellation: the function is cancelled; what it has sent is sent.
        """
        client = self._require_client()
        loop = self._loop
        if loop is None:
            raise SinkUnavailableError("the connection to NATS is closed")
        try:
            result: _T = await trio_asyncio.aio_as_trio(function, loop=loop)(
                client, *args, **kwargs
            )
        except SinkError:
            raise
        except (OSError, nats.errors.Error) as error:
            raise _translated(error) from error
        return result

    async def request(
        self,
        client: Client,
        subject: str,
        payload: bytes,
        *,
        timeout_s: float,
        headers: Mapping[str, str] | None = None,
    ) -> Msg:
        """Send a request and wait for its answer; to be called on the asyncio side, by `call`.

        Raises OutcomeUnknownError when no answer came in time, or when the connection broke.
        """
        request = asyncio.ensure_future(
            client.request(
                subject, payload, timeout=timeout_s, headers=dict(headers) if headers else None
            )
        )
        outage = asyncio.ensure_future(self._outage.wait())
        try:
            await asyncio.wait({request, outage}, return_when=asyncio.FIRST_COMPLETED)
            if request.done():
                return request.result()
            raise OutcomeUnknownError("the connection to NATS broke before the answer came")
        finally:
            for task in (request, outage):
                task.cancel()
            await asyncio.gather(request, outage, return_exceptions=True)

    def _require_client(self) -> Client:
        if self._client is None or not self._connected.value:
            raise SinkUnavailableError("there is no connection to NATS")
        return self._client

    async def _run_client(self, loop: trio_asyncio.TrioEventLoop) -> None:
        """Connect a new client and keep it until it is closed for good."""
        client = Client()
        self._closed.value = False
        self._outage = asyncio.Event()
        try:
            await trio_asyncio.aio_as_trio(client.connect, loop=loop)(
                servers=self._servers,
                name=self._name,
                max_reconnect_attempts=-1,
                reconnect_time_wait=_RECONNECT_WAIT_S,
                connect_timeout=_CONNECT_TIMEOUT_S,
                ping_interval=_PING_INTERVAL_S,
                max_outstanding_pings=_MAX_OUTSTANDING_PINGS,
                pending_size=0,  # fail at once while disconnected: nothing goes out late
                skip_subject_validation=True,  # subjects are valid by construction
                error_cb=self._on_error,
                disconnected_cb=self._on_disconnected,
                reconnected_cb=self._on_reconnected,
                closed_cb=self._on_closed,
            )
            self._client = client
            await self._on_reconnected()
            await self._closed.wait_value(True)
            self._log.warning("nats.client_closed", error=self._last_error)
        except (OSError, nats.errors.Error) as error:
            self._note(error)
            await trio.sleep(_CONNECT_TIMEOUT_S)
        finally:
            self._connected.value = False
            self._client = None
            self._outage.set()
            # Unclosed, the client's tasks would go on and reconnect beside its successor.
            with trio.move_on_after(_CLOSE_S, shield=True):
                await trio_asyncio.aio_as_trio(client.close, loop=loop)()

    # --- callbacks: on the asyncio side; they must not raise ------------------------------------

    async def _on_error(self, error: Exception) -> None:
        self._note(error)

    async def _on_disconnected(self) -> None:
        if self._connected.value:
            self._log.warning("nats.disconnected", error=self._last_error)
        self._connected.value = False
        self._outage.set()

    async def _on_reconnected(self) -> None:
        self._outage = asyncio.Event()
        self._connected.value = True
        self._log.info("nats.connected")

    async def _on_closed(self) -> None:
        self._closed.value = True

    def _on_loop_error(
        self, _loop: asyncio.AbstractEventLoop, context: Mapping[str, object]
    ) -> None:
        error = context.get("exception")
        self._log.warning(
            "nats.loop_error", error=type(error).__name__ if error else context.get("message")
        )

    def _note(self, error: Exception) -> None:
        described = _describe(error)
        if described != self._last_error and not self._connected.value:
            self._log.warning("nats.waiting", error=described)
        self._last_error = described


def _describe(error: Exception) -> str:
    """Name an error without what it may quote: nats-py's texts can hold the server's URL."""
    match error:
        case ConnectionRefusedError():
            return "connection refused"
        case TimeoutError() | nats.errors.TimeoutError():
            return "timed out"
        case ssl.SSLCertVerificationError(verify_message=str(reason)):
            return f"the server's TLS certificate can't be verified: {reason}"
        case OSError(strerror=str(reason)):
            return reason.lower()
        case nats.errors.Error():
            words = str(error).lower()  # those of a server's -ERR have no class of their own
            reasons = (reason for sign, reason in _REFUSALS.items() if sign in words)
            return next(reasons, type(error).__name__)
        case _:
            return type(error).__name__


def _translated(error: Exception) -> SinkError:
    match error:
        case nats.errors.NoRespondersError():
            return SinkUnavailableError(
                "no JetStream answers: it is not enabled, has no leader now, or has no such stream",
                remedy="if it stays so, start nats-server with JetStream (--jetstream)",
            )
        case nats.errors.MaxPayloadError():
            return PayloadTooLargeError(
                "a message is over the broker's max_payload",
                remedy="raise max_payload in nats-server's configuration",
            )
        case nats.errors.TimeoutError():
            return OutcomeUnknownError("no answer from JetStream in time")
        case (
            nats.errors.OutboundBufferLimitError()
            | nats.errors.ConnectionClosedError()
            | nats.errors.ConnectionDrainingError()
        ):
            return SinkUnavailableError("the connection to NATS is down")
        case _:
            return OutcomeUnknownError(f"NATS failed: {_describe(error)}")
