"""An earlier connector, as far as what it leaves behind depends on it: its tokens and messages.

It publishes an event, waits for the acknowledgement, and then inserts the event's token, one after
the other, as the connectors in Go do that `mnc migrate` takes over from.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import nats
from bson import json_util
from pymongo.collection import Collection
from pymongo.database import Database

__all__ = ["EarlierConnector", "of_collections", "of_one_collection"]

Document = dict[str, Any]

_RELAXED = json_util.JSONOptions(json_mode=json_util.JSONMode.RELAXED)


def of_collections(stream: str) -> Callable[[Mapping[str, Any]], str]:
    """Return how one names subjects that puts all collections into `stream`."""

    def subject(change: Mapping[str, Any]) -> str:
        key = change["documentKey"]["_id"]
        return f"{stream}.{change['ns']['coll']}.{change['operationType']}.{key}"

    return subject


def of_one_collection(stream: str) -> Callable[[Mapping[str, Any]], str]:
    """Return how one names subjects that has a stream for each collection."""
    return lambda change: f"{stream}.{change['operationType']}"


class EarlierConnector:
    """Watches a database or a collection from its last token on, or from `since`."""

    def __init__(
        self,
        watched: Database[Document] | Collection[Document],
        *,
        collections: Sequence[str],
        tokens: Collection[Document],
        nats_url: str,
        subject: Callable[[Mapping[str, Any]], str],
    ) -> None:
        self._watched = watched
        self._pipeline = [{"$match": {"ns.coll": {"$in": list(collections)}}}]
        self._tokens = tokens
        self._nats_url = nats_url
        self._subject = subject
        self._since = watched.database.client if isinstance(watched, Collection) else watched.client
        self._start: Mapping[str, Any] = {
            "start_at_operation_time": self._since.admin.command("ping")["operationTime"]
        }

    def publish(self, events: int, *, unsaved: int = 0, unpublished: int = 0) -> None:
        """Publish the next `events`, the last `unsaved` of them without storing their tokens.

        After them the tokens of `unpublished` events are stored that were not published, as one
        does whose connection to NATS is closed.
        """
        changes = self._next(events + unpublished)
        asyncio.run(self._send(changes[:events]))
        saved = changes[: events - unsaved] + changes[events:]
        for change in saved:
            self._tokens.insert_one({"value": change["_id"]["_data"]})

    def _next(self, count: int) -> list[Mapping[str, Any]]:
        last = self._tokens.find_one(sort=[("_id", -1)])
        start = self._start if last is None else {"resume_after": {"_data": last["value"]}}
        with self._watched.watch(self._pipeline, full_document="updateLookup", **start) as stream:
            return [next(stream) for _ in range(count)]

    async def _send(self, changes: Sequence[Mapping[str, Any]]) -> None:
        client = await nats.connect(self._nats_url)
        try:
            jetstream = client.jetstream()
            for change in changes:
                await jetstream.publish(
                    self._subject(change),
                    json_util.dumps(change, json_options=_RELAXED).encode(),
                    headers={"Nats-Msg-Id": change["_id"]["_data"]},
                )
        finally:
            await client.close()
