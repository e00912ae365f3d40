"""A server that no request can bring down: hypercorn's protocols, each connection on its own.

Theory of operation. `hypercorn.trio.serve` lets an error in one connection end the whole server,
and some malformed requests raise one (an h2c upgrade with bad settings, a WebSocket upgrade with a
body: hypercorn issue 225). Hypercorn also sends under a shield, so that a client that doesn't read
can't be cancelled. Here trio accepts the connections; each is a hypercorn `TCPServer` in a nursery
of its own, whose errors end there and whose socket is closed as soon as it is cancelled. The number
of connections is bounded; at the bound the oldest makes room, because a good client is soon gone
and a stuck one isn't. So a probe is answered also when someone holds on to all there are.
"""

from __future__ import annotations

import errno
import socket
from typing import TYPE_CHECKING, cast

import structlog
import trio
from hypercorn.app_wrappers import ASGIWrapper
from hypercorn.config import Config
from hypercorn.trio.tcp_server import TCPServer
from hypercorn.trio.worker_context import WorkerContext
from hypercorn.typing import ASGIFramework, ConnectionState

from mnc.errors import ConfigError

if TYPE_CHECKING:
    from starlette.types import ASGIApp

__all__ = ["MAX_CONNECTIONS", "bind", "serve"]

MAX_CONNECTIONS = 100
"""Far more than a kubelet, a Prometheus and a few people need; few enough to bound the memory."""

_KEEP_ALIVE_S = 2.0
"""How long a connection may idle, or take to send a request's head."""

_GRACE_S = 2.0
"""How long answers that are under way may take at the end; a health check takes as long at most."""

_UNSPECIFIED = ("0.0.0.0", "::")


def bind(host: str, port: int) -> socket.socket:
    """Return a socket that listens on `host`; port 0 takes a free one.

    Both unspecified addresses (0.0.0.0 and ::) mean every address, IPv4 and, where the machine has
    it, IPv6. A name means its IPv4 address.

    Raises ConfigError, which names HTTP_PORT when the port is taken or not permitted, otherwise
    HTTP_HOST.
    """
    try:
        if host in _UNSPECIFIED and socket.has_dualstack_ipv6():
            return socket.create_server(("::", port), family=socket.AF_INET6, dualstack_ipv6=True)
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        return socket.create_server((host, port), family=family)
    except OSError as error:
        raise _explain(error, host, port) from error


def _explain(error: OSError, host: str, port: int) -> ConfigError:
    match error.errno:
        case errno.EADDRINUSE:
            return ConfigError(
                "HTTP_PORT",
                f"port {port} is in use by another process",
                remedy="end that process, or set HTTP_PORT to a free port",
            )
        case errno.EACCES | errno.EPERM:
            return ConfigError(
                "HTTP_PORT",
                f"this process may not listen on port {port}",
                remedy="set HTTP_PORT to 1024 or more",
            )
        case _:
            return ConfigError(
                "HTTP_HOST",
                f"this machine can't listen on {host!r}",
                remedy="set HTTP_HOST to an address of this machine, or to 0.0.0.0 for all",
            )


async def serve(
    app: ASGIApp,
    listening: socket.socket,
    *,
    max_connections: int = MAX_CONNECTIONS,
    task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Serve `app` on `listening`, which it closes in the end, until cancelled.

    `app` gets no lifespan events: the app of this package has nothing to start or stop. Hypercorn's
    log is dropped, because it blames the app for what malformed requests provoke; a connection that
    fails is logged at DEBUG. `max_connections` is 1 or more.

    Cancellation: accepts no more and closes idle connections at once; answers under way have
    `_GRACE_S` to finish.
    """
    served = _Connections(app, max_connections=max_connections)
    listener = trio.SocketListener(trio.socket.from_stdlib_socket(listening))
    stopped = trio.Event()

    async def accept(connections: trio.Nursery) -> None:
        try:
            await trio.serve_listeners(served.handle, [listener], handler_nursery=connections)
        finally:
            stopped.set()

    async with trio.open_nursery() as accepting, trio.open_nursery() as connections:
        # Shielded up to the end of the grace: answers under way would be cut off otherwise.
        connections.cancel_scope.shield = True
        accepting.start_soon(accept, connections)
        task_status.started()
        await stopped.wait()
        await served.wind_down()
        connections.cancel_scope.deadline = trio.current_time() + _GRACE_S


class _Connections:
    """The connections of one server.

    Invariants: an error in one ends that one alone; no more than `max_connections` are open, apart
    from those that are being closed to make room.
    """

    def __init__(self, app: ASGIApp, *, max_connections: int) -> None:
        # The same interface, which hypercorn describes with types of its own.
        self._app = ASGIWrapper(cast("ASGIFramework", app))
        self._config = Config()
        self._config.keep_alive_timeout = _KEEP_ALIVE_S
        self._config.include_server_header = False
        self._config.errorlog = None
        self._context = WorkerContext(max_requests=None)
        self._max_connections = max_connections
        self._open: dict[trio.CancelScope, None] = {}
        """The scope of each connection, the oldest first."""

    async def handle(self, stream: trio.SocketStream) -> None:
        """Serve one connection to its end. No error passes, whatever the client sends."""
        if len(self._open) == self._max_connections:
            oldest = next(iter(self._open))
            del self._open[oldest]
            oldest.cancel()
        try:
            async with trio.open_nursery() as nursery:
                self._open[nursery.cancel_scope] = None
                nursery.start_soon(_close_when_cancelled, stream)
                try:
                    await self._server(stream).run()
                finally:
                    self._open.pop(nursery.cancel_scope, None)
                nursery.cancel_scope.cancel()
        except* Exception as failure:  # noqa: BLE001 - the guard: hypercorn raises anything
            structlog.get_logger().debug("http.connection_failed", error=_first_name(failure))

    async def wind_down(self) -> None:
        """Close idle connections, and each of the others after the answer that it is at."""
        await self._context.terminated.set()

    def _server(self, stream: trio.SocketStream) -> TCPServer:
        # The annotation says TLS alone; a plain stream is told apart by what it lacks.
        tls_or_plain = cast("trio.SSLStream[trio.SocketStream]", stream)
        return TCPServer(self._app, self._config, self._context, ConnectionState({}), tls_or_plain)


def _first_name(failure: ExceptionGroup[Exception]) -> str:
    """Return the type of a failure; its message may hold what the client sent."""
    first: Exception = failure
    while isinstance(first, ExceptionGroup):
        first = first.exceptions[0]
    return type(first).__name__


async def _close_when_cancelled(stream: trio.SocketStream) -> None:
    """Wait to be cancelled and close the socket, which also ends a send under a shield."""
    try:
        await trio.sleep_forever()
    finally:
        stream.socket.close()
