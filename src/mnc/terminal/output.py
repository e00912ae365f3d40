"""Writing to standard output without ever blocking the event loop.

A pager, a stopped terminal or a slow pipe makes a write wait for as long as its reader likes. So
every write is made by a thread, past Python's own buffers: a thread that is left waiting holds no
lock that the interpreter needs at its end.
"""

from __future__ import annotations

import os
import select

import trio

__all__ = ["Output"]


class Output:
    """A file descriptor that lines are written to. Not safe for two tasks at once."""

    def __init__(self, descriptor: int, *, encoding: str = "utf-8") -> None:
        self._descriptor = descriptor
        self._encoding = encoding
        self._hang_up = select.poll()
        self._hang_up.register(descriptor, 0)  # errors and hang-ups are always reported

    async def write(self, text: str) -> None:
        """Write `text`, waiting for the reader as long as it takes.

        What the encoding can't express becomes `?`. Raises BrokenPipeError when nobody reads any
        more, OSError when the terminal is gone.

        Cancellation: returns at once; any part of the text may still be written.
        """
        data = text.encode(self._encoding, "replace")
        await trio.to_thread.run_sync(self._write_all, data, abandon_on_cancel=True)

    def check_reader(self) -> None:
        """Raise BrokenPipeError when nobody reads any more, which a write would only tell later."""
        if any(event & (select.POLLERR | select.POLLHUP) for _, event in self._hang_up.poll(0)):
            raise BrokenPipeError("nobody reads standard output any more")

    def _write_all(self, data: bytes) -> None:
        left = memoryview(data)
        while left:
            left = left[os.write(self._descriptor, left) :]
