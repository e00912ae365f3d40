"""nats-py's client, with the faults mended that would hold up or betray the connector."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Coroutine, Sequence
from contextlib import suppress
from typing import Any

import nats.errors
from nats.aio.client import Client, Srv
from nats.aio.transport import TcpTransport

__all__ = ["MendedClient"]

_CANCEL_AGAIN_S = 0.05


class MendedClient(Client):
    """A client that connects as it was told to, and ends when it is told to.

    nats-py logs in without TLS at a server that doesn't ask for it, whatever the URL says. It
    doesn't close the connection of an attempt to reconnect that failed, and reconnects only when a
    dead connection has taken what was to be sent. When it closes with something left to write, a
    connection that broke is an error by which nobody learns that it is closed. A greeting that
    breaks off within its first word ends `connect` with a ValueError. And it waits by
    `asyncio.wait_for`, which before Python 3.12 loses a cancellation that comes together with what
    is waited for: it then goes on connecting for ever.
    """

    def __init__(self, *, demands_tls: bool) -> None:
        super().__init__()
        self._demands_tls = demands_tls

    async def connect(self, *args: Any, **kwargs: Any) -> None:
        """Connect as nats-py does."""
        await _cancellable(super().connect(*args, **kwargs))

    async def send(self, messages: Sequence[bytes]) -> None:
        """Send messages that are written already (`sending.written`), as `publish` does.

        Raises as `publish`, but knows nothing of subjects and sizes.
        """
        if self.is_closed:
            raise nats.errors.ConnectionClosedError
        if not self.is_connected:
            raise nats.errors.OutboundBufferLimitError
        self.stats["out_msgs"] += len(messages)
        data = b"".join(messages)
        self.stats["out_bytes"] += len(data)
        await self._send_command(data)
        if self._flush_queue is not None and self._flush_queue.empty():
            await self._flush_pending()

    async def close(self) -> None:
        """Close as nats-py does, with an attempt to reconnect ended."""
        if self._reconnection_task is not None:
            await _end(self._reconnection_task)
        # A transport whose closing that task was waiting for passes the cancellation on.
        with suppress(asyncio.CancelledError):
            await super().close()

    async def _close(self, status: int, do_cbs: bool = True) -> None:
        """Close with nothing left to write: who awaits an answer to it has been told otherwise."""
        self._pending, self._pending_data_size = [], 0
        await super()._close(status, do_cbs)

    async def _process_op_err(self, e: Exception) -> None:
        """Give a broken connection up at once, with what it has not sent.

        nats-py waits for it to be sent first: with the other end gone, until TCP gives up, which
        takes a quarter of an hour. Whoever sent it learns that the connection broke.
        """
        if isinstance(self._transport, TcpTransport) and not self.is_reconnecting:
            writer = self._transport._io_writer  # noqa: SLF001 - it has no way to abort
            if writer is not None:
                writer.transport.abort()
        await super()._process_op_err(e)

    async def _process_connect_init(self) -> None:
        """Read the greeting and log in."""
        try:
            await super()._process_connect_init()
        except ssl.SSLError:  # which may be a ValueError too
            raise
        except ValueError as error:
            raise nats.errors.UnexpectedEOF from error

    def _connect_command(self) -> bytes:
        """Build the first message, which has the credentials: the last moment to stop it."""
        has_tls = self.options["tls_handshake_first"] or self._server_info.get("tls_required")
        if self._demands_tls and not has_tls:
            raise nats.errors.SecureConnWantedError
        return super()._connect_command()

    async def _connect_to_server(self, s: Srv) -> None:
        """Open another connection."""
        if self._transport:
            self._transport.close()  # type: ignore[no-untyped-call] # nats-py's has no types
        await super()._connect_to_server(s)


async def _cancellable(coroutine: Coroutine[Any, Any, None]) -> None:
    """Await `coroutine`, in a task that is ended when this is cancelled."""
    task = asyncio.ensure_future(coroutine)
    try:
        await asyncio.wait({task})
    finally:
        await _end(task)
    task.result()


async def _end(task: asyncio.Task[None]) -> None:
    """Cancel a task as often as it takes."""
    while not task.done():
        task.cancel()
        await asyncio.wait({task}, timeout=_CANCEL_AGAIN_S)
