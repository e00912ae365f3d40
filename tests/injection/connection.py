"""One connection through a proxy: two sockets, and what has become of it."""

from __future__ import annotations

from dataclasses import dataclass, field

import trio
from tests.injection.faults import BOTH_WAYS, Direction
from tests.injection.sockets import close
from tests.injection.way import Way
from trio_util import AsyncValue

__all__ = ["LAST_BYTES", "Connection"]

LAST_BYTES = 64
"""More than the pattern of a trap has."""


@dataclass(eq=False, slots=True, kw_only=True)
class Connection:
    """A client's connection to the proxy, and the proxy's to the server that belongs to it."""

    client: trio.SocketStream
    server: trio.SocketStream
    scope: trio.CancelScope = field(default_factory=trio.CancelScope)
    """Holds the tasks that carry its bytes."""
    stranded: AsyncValue[bool] = field(default_factory=lambda: AsyncValue(False))
    gaps: set[Direction] = field(default_factory=set)
    """In which directions bytes of it were swallowed."""
    last: dict[Direction, bytes] = field(default_factory=lambda: dict.fromkeys(BOTH_WAYS, b""))
    """The last bytes that have passed, at most LAST_BYTES."""

    def ends(self, direction: Direction) -> tuple[trio.SocketStream, trio.SocketStream]:
        """Return where bytes of this direction come from and where they go."""
        if direction == "to_server":
            return self.client, self.server
        return self.server, self.client

    def note(self, piece: memoryview, direction: Direction) -> None:
        """Remember the end of what passes."""
        end = self.last[direction] + bytes(piece[-LAST_BYTES:])
        self.last[direction] = end[-LAST_BYTES:]

    def is_held(self, way: Way) -> bool:
        """Say whether bytes have to wait that go this way."""
        return self.stranded.value is True or way.flow.value == "hold"

    async def wait_passable(self, way: Way) -> None:
        """Return when bytes that go this way go on, or vanish."""
        while self.is_held(way):
            await self.stranded.wait_value(False)
            await way.flow.wait_value(lambda flow: flow != "hold")

    def close(self, *, reset: bool) -> None:
        """End both sides at once; nothing when they have ended."""
        for stream in (self.client, self.server):
            close(stream, reset=reset)
        self.scope.cancel()
