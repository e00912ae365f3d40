"""The port through which discovery sees a database, over the fake oplog."""

from __future__ import annotations

from collections.abc import Callable, Collection

from tests.fakes.source import FakeChangeStream, FakeSource

from mnc.capture.ports import StartAt
from mnc.model import ClusterTime, ResumeToken

__all__ = ["FakeNewcomerSource"]


class FakeNewcomerSource:
    """What a predicate takes of a fake source's collections."""

    def __init__(self, oplog: FakeSource, wants: Callable[[str], bool]) -> None:
        self._oplog = oplog
        self._wants = wants

    async def current_token(self) -> ResumeToken:
        """Return a token after everything so far."""
        return await self._oplog.current_token()

    async def existing(self) -> Collection[str]:
        """Return the collections that exist and are wanted."""
        # As long as a question to the server takes, with its faults.
        await self._oplog.current_token()
        return [name for name in self._oplog.collections() if self._wants(name)]

    async def open(self, known: Collection[str], *, since: ClusterTime) -> FakeChangeStream:
        """Open a change stream over what is wanted, but for `known`."""
        stream = await self._oplog.open((), start=StartAt(since))
        stream.passes = lambda name: self._wants(name) and name not in known
        return stream
