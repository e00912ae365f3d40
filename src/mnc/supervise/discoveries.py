"""The discoveries of several databases, as one."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from collections.abc import Set as AbstractSet

import trio

from mnc.model import collection_key
from mnc.supervise.discovery import Discovery

__all__ = ["Discoveries"]


class Discoveries:
    """A discovery for each database that has globs; none at all is possible.

    Invariants: those of Discovery, with keys (`mnc.model.collection_key`) instead of names.
    """

    def __init__(self, discoveries: Mapping[str, Discovery], *, home: str) -> None:
        """Take `discoveries` by their databases; `home` is the one that MONGO_URI names."""
        self._discoveries = discoveries
        self._home = home

    @property
    def known(self) -> AbstractSet[str]:
        """The keys of the collections to watch, as far as they have been found."""
        return {
            collection_key(database, name, home=self._home)
            for database, discovery in self._discoveries.items()
            for name in discovery.known
        }

    def not_ready_because(self) -> str | None:
        """Say in a sentence why collections may be missing from `known`, or None."""
        for database, discovery in self._discoveries.items():
            reason = discovery.not_ready_because()
            if reason is not None:
                return reason if len(self._discoveries) == 1 else f"database {database}: {reason}"
        return None

    async def run(self, changed: Callable[[], None]) -> None:
        """Look for collections until cancelled; call `changed` at each change of `known`.

        Returns at once when there is nothing to look for.

        Cancellation: what was found is there for the next one that looks.
        """
        async with trio.open_nursery() as nursery:
            for discovery in self._discoveries.values():
                nursery.start_soon(discovery.run, lambda _: changed())
