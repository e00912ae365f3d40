"""Following a stream for as long as somebody watches, through outages and before it exists."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

import trio

from mnc.errors import SinkError, StreamMissingError
from mnc.terminal.event import ShownEvent, read_event
from mnc.terminal.ports import MessageSource

__all__ = ["follow"]

_PATIENCE_S = 2.0
"""Trouble that is over sooner is not worth a word."""

_RETRY_S = 0.1


async def follow(
    source: MessageSource,
    *,
    show: Callable[[Sequence[ShownEvent]], Awaitable[bool]],
    notice: Callable[[str], Awaitable[None]],
) -> None:
    """Hand the events of `source` to `show`, batch by batch, until it returns False.

    `show` gets an empty batch about once a second while nothing happens. `notice` gets a sentence
    when the stream can't be read, once for each new reason. Raises what these raise.

    Cancellation: events that `show` was not given are not shown.
    """
    said: str | None = None
    failing_since: float | None = None
    while True:
        try:
            messages = await source.next_batch()
        except SinkError as error:
            now = trio.current_time()
            failing_since = now if failing_since is None else failing_since
            if now - failing_since >= _PATIENCE_S and _reason(error) != said:
                said = _reason(error)
                await notice(said)
            await trio.sleep(_RETRY_S)
            continue
        said = failing_since = None
        if not await show([read_event(message) for message in messages]):
            return


def _reason(error: SinkError) -> str:
    if isinstance(error, StreamMissingError):
        return f"waiting for the stream to be made ({error})"
    return f"waiting: {error}"
