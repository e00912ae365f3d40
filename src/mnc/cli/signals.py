"""The signals that end a command."""

from __future__ import annotations

import signal

import trio

__all__ = ["shut_down_on_signals"]

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


async def shut_down_on_signals(shutdown: trio.Event, scope: trio.CancelScope) -> None:
    """Set `shutdown` at the first signal; cancel `scope` at the second.

    SIGHUP, a closed terminal, is one of them.
    """
    with trio.open_signal_receiver(*_SIGNALS) as signals:
        async for _ in signals:
            if shutdown.is_set():
                scope.cancel()
            shutdown.set()
