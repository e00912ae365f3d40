"""A session with NATS that outlives its connections and its clients.

Theory of operation. One trio-asyncio loop owns one nats-py client. The rest of the program is pure
trio and crosses over with `NatsSession.call`, once for a whole batch. The client reconnects for
ever by itself. When the server closes it for good (any `-ERR` does) or doesn't let it in, the
session makes a new one, with what credentials and certificates on the disk are by then. Requests in
flight when the connection breaks fail at once, as "outcome unknown", instead of at their time-out.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from functools import partial
from typing import Any, Concatenate, ParamSpec, TypeVar

import nats.errors
import structlog
import trio
import trio_asyncio
from nats.aio.client import Client
from nats.aio.msg import Msg
from trio_util import AsyncValue

from mnc.config import NatsSecurity
from mnc.drivers.nats.client import MendedClient
from mnc.drivers.nats.denials import Denials, denied_place
from mnc.drivers.nats.failures import describe, is_vague, translated
from mnc.drivers.nats.security import connect_options, demands_tls, login_in_use
from mnc.drivers.nats.subscriptions import Receive, Subscriptions
from mnc.errors import ConfigError, OutcomeUnknownError, SinkError, SinkUnavailableError

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

_UNWELCOME_S = 2.0
"""How long a client that was not let in may try, the other servers too, before it is replaced."""

_RETRY_S = 1.0
"""The pause after a client that could not even try."""

_NO_SECURITY = NatsSecurity()


class NatsSession:
    """Keep one connection to NATS, whatever happens to it.

    Invariants: there is at most one client; `connected` is true only while it has a connection.
    """

    def __init__(
        self, servers: Sequence[str], *, name: str, security: NatsSecurity = _NO_SECURITY
    ) -> None:
        """Check what the settings say. Raises ConfigError when a file of theirs can't be used."""
        connect_options(servers, security)
        self._servers = servers
        self._security = security
        self._name = name
        self._loop: trio_asyncio.TrioEventLoop | None = None
        self._client: MendedClient | None = None
        self._outage = asyncio.Event()
        self._connected = AsyncValue(False)
        self._connected_at_s = -math.inf
        self._subscriptions = Subscriptions()
        self._scope = trio.CancelScope()
        self._last_error: str | None = None
        self._described: set[str] = set()
        self._denials = Denials()
        self._log = structlog.get_logger()

    @property
    def last_error(self) -> str | None:
        """The kind of the last connection error, without addresses; None when connected."""
        return None if self._connected.value else self._last_error

    @property
    def connected_for_s(self) -> float:
        """For how long the connection stands, in seconds; 0 without one."""
        return trio.current_time() - self._connected_at_s if self._connected.value else 0.0

    @property
    def max_payload_bytes(self) -> int:
        """The broker's `max_payload`, which counts headers and payload together.

        It is what it was when the client connected: see `refresh_limits`.
        """
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

    async def refresh_limits(self) -> None:
        """Make a new client when the broker's limits have changed, and return when it is connected.

        A server tells of its limits when it greets a client, and of no change. The client is kept
        when no server greets. Raises SinkUnavailableError without a connection.

        Cancellation: the client may be replaced.
        """
        if await self.call(self._has_old_limits):
            self._scope.cancel()
            await self._connected.wait_value(False)
            await self.wait_connected()

    @asynccontextmanager
    async def subscription(self, subject: str, receive: Receive) -> AsyncIterator[None]:
        """Receive messages while the block runs, whenever there is a connection.

        A new client subscribes before anything is sent over it. What is published while there is
        no connection is missed. `subject` is subscribed to once at a time.

        Cancellation: nothing is received any more.
        """
        self._subscriptions.add(subject, receive)
        try:
            await self._apply_subscriptions()
            yield
        finally:
            self._subscriptions.remove(subject)
            with trio.move_on_after(_CLOSE_S, shield=True):  # it would go on with this client
                await self._apply_subscriptions()

    async def call(
        self,
        function: Callable[Concatenate[MendedClient, _P], Awaitable[_T]],
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
            raise translated(error) from error
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

        Raises OutcomeUnknownError when no answer came in time, or when the connection broke;
        SinkRefusedError when no answer came because the user lacks a permission.
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
        except nats.errors.TimeoutError as error:
            if denial := self.denial([subject]):
                raise denial from error
            raise
        finally:
            for task in (request, outage):
                task.cancel()
            await asyncio.gather(request, outage, return_exceptions=True)

    def denial(self, subjects: Iterable[str]) -> SinkError | None:
        """Return what explains that messages to `subjects` had no effect, or None.

        To be asked when there was no answer, or one that says that a batch is incomplete.
        """
        if self._denials.includes_answers:
            # nats-py subscribes once for each client, and would not when it is permitted again.
            self._scope.cancel()
        return self._denials.take(subjects)

    def is_denied(self, subject: str, *, within_s: float) -> bool:
        """Say whether the server has denied messages on a subject in the last `within_s` seconds.

        Subjects are told apart by their first three tokens.
        """
        denied_at_s = self._denials.last_at_s(subject)
        return denied_at_s is not None and trio.current_time() - denied_at_s <= within_s

    async def subscribe_again(self, subject: str) -> None:
        """Ask once more for what was denied: nobody says when it is permitted.

        Cancellation: the subject may be without a subscription until the next client.
        """
        with suppress(SinkError):  # the next connection asks for it
            await self.call(self._subscriptions.renew, subject)

    async def _apply_subscriptions(self) -> None:
        with suppress(SinkError):  # the next connection makes it so
            await self.call(self._subscriptions.apply)

    def _require_client(self) -> MendedClient:
        if self._client is None or not self._connected.value:
            raise SinkUnavailableError("there is no connection to NATS")
        return self._client

    async def _run_client(self, loop: trio_asyncio.TrioEventLoop) -> None:
        """Connect a new client and keep it until it is closed for good, or of no use."""
        try:
            options = connect_options(self._servers, self._security)
        except ConfigError as error:  # a file has changed since the start, or is being written
            self._note(error)
            await trio.sleep(_RETRY_S)
            return
        client = MendedClient(demands_tls=demands_tls(self._servers, self._security))
        self._client = client
        self._denials = Denials()
        self._outage = asyncio.Event()
        with trio.CancelScope() as self._scope:
            try:
                await self._connect(client, options, loop)
                await trio.sleep_forever()
            except (OSError, nats.errors.Error) as error:
                self._note(error)
                await trio.sleep(_RETRY_S)
            finally:
                self._connected.value = False
                self._client = None
                self._outage.set()
                # Unclosed, the client's tasks would go on and reconnect beside its successor.
                with trio.move_on_after(_CLOSE_S, shield=True):
                    await trio_asyncio.aio_as_trio(client.close, loop=loop)()
        await trio.sleep(_RECONNECT_WAIT_S)  # a server may accept a login and end it at once

    async def _connect(
        self, client: Client, options: Mapping[str, Any], loop: trio_asyncio.TrioEventLoop
    ) -> None:
        await trio_asyncio.aio_as_trio(client.connect, loop=loop)(
            **options,
            name=self._name,
            max_reconnect_attempts=-1,
            reconnect_time_wait=_RECONNECT_WAIT_S,
            connect_timeout=_CONNECT_TIMEOUT_S,
            ping_interval=_PING_INTERVAL_S,
            max_outstanding_pings=_MAX_OUTSTANDING_PINGS,
            pending_size=0,  # fail at once while disconnected: nothing goes out late
            skip_subject_validation=True,  # subjects are valid by construction
            error_cb=partial(self._on_error, client),
            disconnected_cb=self._on_disconnected,
            reconnected_cb=partial(self._on_reconnected, client),
            closed_cb=partial(self._on_closed, client),
        )
        await trio_asyncio.aio_as_trio(self._on_reconnected, loop=loop)(client)

    async def _has_old_limits(self, client: Client) -> bool:
        """Compare with what a server greets another client with, to disturb no batch in flight."""
        guest = MendedClient(demands_tls=demands_tls(self._servers, self._security))
        try:
            await guest.connect(
                **connect_options(self._servers, self._security),
                name=self._name,
                allow_reconnect=False,
                connect_timeout=_CONNECT_TIMEOUT_S,
                error_cb=_ignore,
            )
        except (ConfigError, OSError, nats.errors.Error):
            return False
        else:
            return guest.max_payload != client.max_payload
        finally:
            await guest.close()

    # --- callbacks: on the asyncio side; they must not raise ------------------------------------

    async def _on_error(self, client: Client, error: Exception) -> None:
        place = denied_place(error)
        if place is not None:
            if self._denials.add(place, now_s=trio.current_time()):
                self._log.warning("nats.permission_denied", subject=place)
            return
        if client.is_connecting:
            deadline = trio.current_time() + _UNWELCOME_S
            self._scope.deadline = min(self._scope.deadline, deadline)
        self._note(error, greeting=client.is_connecting)

    async def _on_disconnected(self) -> None:
        if self._connected.value:
            self._log.warning("nats.disconnected", error=self._last_error)
        self._connected.value = False
        self._denials = Denials()
        self._outage.set()

    async def _on_reconnected(self, client: Client) -> None:
        with suppress(nats.errors.Error):  # closed meanwhile
            await self._subscriptions.apply(client)
        if client is not self._client or not client.is_connected:
            return
        self._outage = asyncio.Event()
        self._last_error = None
        self._described.clear()
        self._scope.deadline = math.inf
        self._connected_at_s = trio.current_time()
        self._connected.value = True
        self._log.info("nats.connected")

    async def _on_closed(self, client: Client) -> None:
        if client is self._client:  # by the server, and not at the end of `_run_client`
            if client.last_error is not None:
                self._note(client.last_error)
            self._log.warning("nats.client_closed", error=self._last_error)
            self._scope.cancel()

    def _on_loop_error(
        self, _loop: asyncio.AbstractEventLoop, context: Mapping[str, object]
    ) -> None:
        error = context.get("exception")
        self._log.warning(
            "nats.loop_error", error=type(error).__name__ if error else context.get("message")
        )

    def _note(self, error: Exception, *, greeting: bool = False) -> None:
        """Remember what is wrong, and log it once in an outage."""
        if self._described and is_vague(error):
            return
        self._last_error = describe(
            error,
            greeting=greeting,
            login=login_in_use(self._servers, self._security),
            handshake_first=self._security.nats_tls_handshake_first,
        )
        if self._last_error not in self._described and not self._connected.value:
            self._described.add(self._last_error)
            self._log.warning("nats.waiting", error=self._last_error)


async def _ignore(_: Exception) -> None:
    """Leave an error to who is told of it another way."""
