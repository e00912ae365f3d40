"""Count the changes of leader in a cluster that nothing happens to but work.

    python -m bench.elections [--minutes 10]

Three `mnc serve` share three collections on fresh embedded servers, into which documents are
inserted, and removed again, as fast as they can be published. Nobody ends or is cut off, so each
change of leader is a false one: a member was silent for longer than the shortest election time-out.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import click
from prometheus_client.parser import text_string_to_metric_families
from pymongo.database import Database
from tests.connector import ConnectorProcess
from tests.waiting import wait_until

from bench.cluster import running_cluster, writing

__all__: list[str] = []

_COLLECTIONS = ("users", "movies", "orders")
_INSERT_BATCH = 1000
_KEPT_BATCHES = 30
_KEPT_S = 20.0
"""For how long the stream keeps its events, so that the disk doesn't fill."""

_BACKLOG = 200_000
"""How many events wait to be published, most of the time; an oplog of a gigabyte holds more."""

_BATCHES_PER_LOOK = 30
_DRAIN_S = 60.0
_REPORT_EACH_S = 60.0


class _Load:
    """Inserts documents and removes older ones, ahead of the connectors by a limited backlog.

    The backlog keeps each instance at work without a pause. Without its limit, the oplog would
    wrap around before it was read.
    """

    def __init__(self, published: Callable[[], float]) -> None:
        self._published = published
        self._events = 0

    def __call__(self, database: Database[dict[str, Any]], number: int) -> None:
        """Insert one batch, and remove one that was inserted earlier."""
        collection = database[_COLLECTIONS[number % len(_COLLECTIONS)]]
        first = number * _INSERT_BATCH
        collection.insert_many(
            [{"_id": first + index, "text": "x" * 120} for index in range(_INSERT_BATCH)],
            ordered=False,
        )
        removed = collection.delete_many({"_id": {"$lt": first - _KEPT_BATCHES * _INSERT_BATCH}})
        self._events += _INSERT_BATCH + removed.deleted_count
        if number % _BATCHES_PER_LOOK == 0:
            wait_until(
                lambda: self._events - self._published() < _BACKLOG,
                timeout_s=_DRAIN_S,
                what="the backlog to shrink",
            )


def _published(instance: ConnectorProcess) -> float:
    """Return how many events an instance has published, whatever it owns now."""
    families = text_string_to_metric_families(instance.get("/metrics").text)
    return sum(
        sample.value
        for family in families
        for sample in family.samples
        if sample.name == "mnc_events_published_total"
    )


@click.command()
@click.option("--minutes", default=10.0, show_default=True)
def main(minutes: float) -> None:
    """Print how often the leader changed, and how many events passed meanwhile."""
    with running_cluster(_COLLECTIONS, max_age_s=_KEPT_S) as cluster:
        instances = list(cluster.instances.values())
        settled = [len(instance.log("cluster.leader_elected")) for instance in instances]
        began_at = time.monotonic()

        def published() -> float:
            return sum(_published(instance) for instance in instances)

        with writing(cluster.deployment, _Load(published), pause_s=0):
            while (passed_s := time.monotonic() - began_at) < minutes * 60:
                instances[0].run_for(min(_REPORT_EACH_S, minutes * 60 - passed_s))
                elected = [len(instance.log("cluster.leader_elected")) for instance in instances]
                changes = [now - before for now, before in zip(elected, settled, strict=True)]
                print(
                    f"{time.monotonic() - began_at:.0f} s: {published():.0f} events; "
                    f"changes of leader that each instance has seen: {changes}",
                    flush=True,
                )


if __name__ == "__main__":
    main()
