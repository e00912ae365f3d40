"""The two ways in which `mnc up` shows itself: a live view on a terminal, else lines."""

from __future__ import annotations

import io
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager, suppress
from datetime import datetime
from typing import Protocol

import structlog
import trio
from rich.console import Console
from rich.live import Live

from mnc.terminal.dashboard import Tally, dashboard
from mnc.terminal.event import ShownEvent, plain_line
from mnc.terminal.output import Output
from mnc.terminal.places import Places

__all__ = ["View", "live_view", "plain_view"]

_REFRESH_INTERVAL_S = 0.1
_RESTORE_S = 1.0


class View(Protocol):
    """What events are shown on; `follow` feeds it."""

    async def show(self, events: Sequence[ShownEvent]) -> bool:
        """Show events, or that there are none now; return True: more are wanted. Raises OSError.

        Cancellation: they may be shown in part.
        """
        ...

    async def notice(self, sentence: str) -> None:
        """Say why no events can be shown. Raises OSError.

        Cancellation: it may not be shown.
        """
        ...


@asynccontextmanager
async def plain_view(output: Output, places: Places) -> AsyncIterator[View]:
    """Write what there is to know at first, then a line an event; log what else there is."""
    header = [
        f"mnc {places.version}: MongoDB -> JetStream",
        *(f"{name:<9}{address}" for name, address in places.rows()),
        "look further:",
        *(f"  {command}" for command in places.commands()),
        "time, collection, operation, id and lag in ms of each event:",
    ]
    await output.write(_lines(header))
    yield _PlainView(output)


@asynccontextmanager
async def live_view(output: Output, places: Places) -> AsyncIterator[View]:
    """Keep a dashboard up to date; its last state stays on the terminal."""
    buffer = _Buffer()
    live = Live(
        console=Console(file=buffer, force_terminal=True),
        auto_refresh=False,
        redirect_stdout=False,
        redirect_stderr=False,
        vertical_overflow="crop",
    )
    live.start()
    try:
        yield _LiveView(output, places, live, buffer)
    finally:
        live.stop()
        # Unwritten, the terminal's cursor would stay hidden.
        with trio.move_on_after(_RESTORE_S, shield=True), suppress(OSError):
            await output.write(buffer.take())


class _PlainView:
    def __init__(self, output: Output) -> None:
        self._output = output

    async def show(self, events: Sequence[ShownEvent]) -> bool:
        self._output.check_reader()
        if events:
            await self._output.write(_lines(map(plain_line, events)))
        return True

    async def notice(self, sentence: str) -> None:
        await trio.lowlevel.checkpoint()
        structlog.get_logger().warning("view.waiting", reason=sentence)


class _LiveView:
    def __init__(self, output: Output, places: Places, live: Live, buffer: _Buffer) -> None:
        self._output = output
        self._places = places
        self._live = live
        self._buffer = buffer
        self._tally = Tally()
        self._next_refresh = trio.current_time()

    async def show(self, events: Sequence[ShownEvent]) -> bool:
        self._tally.add(events)
        if not events or trio.current_time() >= self._next_refresh:
            await self._refresh("")
        return True

    async def notice(self, sentence: str) -> None:
        await self._refresh(sentence)

    async def _refresh(self, notice: str) -> None:
        view = dashboard(
            self._places,
            self._tally,
            notice=notice,
            height=self._live.console.height,
            today=datetime.now().astimezone(),
        )
        self._live.update(view, refresh=True)
        await self._output.write(self._buffer.take())
        self._next_refresh = trio.current_time() + _REFRESH_INTERVAL_S


class _Buffer(io.StringIO):
    """What rich has written and the terminal has not got yet."""

    def take(self) -> str:
        """Return it, and hold nothing."""
        text = self.getvalue()
        self.seek(0)
        self.truncate()
        return text


def _lines(lines: Iterable[str]) -> str:
    return "".join(f"{line}\n" for line in lines)
