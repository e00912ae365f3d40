"""Count the changes of leader in a cluster that nothing happens to but work.

    python -m bench.elections [--minutes 10]

Three `mnc serve` share three collections on fresh embedded servers, into which documents are
inserted, and removed again, at full speed. Nobody ends or is cut off, so each change of leader is a
false one: a member was silent for longer than the shortest election time-out.
"""

from __future__ import annotations

import time
from typing import Any

import click
from pymongo.database import Database

from bench.cluster import running_cluster, writing

__all__: list[str] = []

_COLLECTIONS = ("users", "movies", "orders")
_INSERT_BATCH = 1000
_KEPT_BATCHES = 30
_KEPT_S = 20.0
"""For how long the stream keeps its events, so that the disk doesn't fill."""

_REPORT_EACH_S = 60.0


@click.command()
@click.option("--minutes", default=10.0, show_default=True)
def main(minutes: float) -> None:
    """Print how often the leader changed, and how many events passed meanwhile."""
    with running_cluster(_COLLECTIONS, max_age_s=_KEPT_S) as cluster:
        instances = list(cluster.instances.values())
        settled = [len(instance.log("cluster.leader_elected")) for instance in instances]
        began_at = time.monotonic()
        with writing(cluster.deployment, _insert, pause_s=0):
            while (passed_s := time.monotonic() - began_at) < minutes * 60:
                instances[0].run_for(min(_REPORT_EACH_S, minutes * 60 - passed_s))
                elected = [len(instance.log("cluster.leader_elected")) for instance in instances]
                changes = [now - before for now, before in zip(elected, settled, strict=True)]
                events = sum(instance.counted("events_published") for instance in instances)
                print(
                    f"{time.monotonic() - began_at:.0f} s: {events} events; changes of leader "
                    f"that each instance has seen: {changes}",
                    flush=True,
                )


def _insert(database: Database[dict[str, Any]], number: int) -> None:
    """Insert one batch, and remove one that was inserted earlier."""
    collection = database[_COLLECTIONS[number % len(_COLLECTIONS)]]
    first = number * _INSERT_BATCH
    collection.insert_many(
        [{"_id": first + index, "text": "x" * 120} for index in range(_INSERT_BATCH)],
        ordered=False,
    )
    collection.delete_many({"_id": {"$lt": first - _KEPT_BATCHES * _INSERT_BATCH}})


if __name__ == "__main__":
    main()
