"""The port for a collection's documents, in memory: what was written to a fake source."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable

import trio
from tests.fakes.faults import Faults, Script
from tests.fakes.source import FakeSource

from mnc.capture.ports import Chunk, Document
from mnc.config import NO_PIPELINE
from mnc.encode.snapshot import read_change
from mnc.errors import SourceError
from mnc.model import ClusterTime, Namespace

__all__ = ["FakeDocuments"]

_DOCUMENT_BYTES = 300


class FakeDocuments:
    """Documents with numbers as their ids."""

    def __init__(self, source: FakeSource) -> None:
        self.read_faults: Faults[SourceError] = Script()
        self.limits: list[int] = []
        """What each chunk was asked to hold at most."""
        self.before_read: Callable[[], object] = lambda: None
        """Called before each chunk, to write meanwhile."""
        self.delays_s = defaultdict[str, float](lambda: 0.01)
        """What a chunk of each collection takes."""
        self.left_out = set[int]()
        """What any pipeline leaves out."""
        self._source = source

    async def read(
        self, namespace: Namespace, *, after: str, since: ClusterTime, limit: int, pipeline: str
    ) -> Chunk:
        """Return the documents that follow `after`, through `left_out` if there is a pipeline."""
        assert since <= self._source.now
        self.limits.append(limit)
        fault = self.read_faults()
        self.before_read()
        found = sorted(self._source.documents[namespace.collection].items())
        await trio.sleep(self.delays_s[namespace.collection])
        if fault is not None:
            raise fault
        following = [(number, fields) for number, fields in found if _key(number) > after]
        leaves_out = self.left_out if pipeline != NO_PIPELINE else set[int]()
        return Chunk(
            documents=[
                Document(
                    change=None if number in leaves_out else read_change(namespace, fields),
                    key=_key(number),
                )
                for number, fields in following[:limit]
            ],
            size_bytes=_DOCUMENT_BYTES * min(limit, len(following)),
        )

    async def estimate(self, namespace: Namespace) -> int:
        """Return how many documents there are."""
        await trio.sleep(0.001)
        return len(self._source.documents[namespace.collection])


def _key(number: int) -> str:
    return f"{number:08}"
