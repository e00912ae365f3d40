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
from pymongo.database import Database
from tests.jetstream import ask_jetstream
from tests.waiting import wait_until

from bench.cluster import running_cluster, writing

__all__: list[str] = []

_COLLECTIONS = ("users", "movies", "orders")
_INSERT_BATCH = 1000
_KEPT_BATCHES = 30
_KEPT_S = 20.0
"""For how long the stream keeps its events, so that the disk doesn't fill."""

_LAG_S = 10.0
_BATCHES_PER_LOOK = 30
_DRAIN_S = 60.0
_REPORT_EACH_S = 60.0


class _Load:
    """Inserts documents and removes older ones, while the connectors' lag isn't large.

    A lag of some seconds keeps each instance at work without a pause. Without its limit, the oplog
    would wrap around before it was read.
    """

    def __init__(self, lag_s: Callable[[], float]) -> None:
        self._lag_s = lag_s

    def __call__(self, database: Database[dict[str, Any]], number: int) -> None:
        """Insert one batch, and remove one that was inserted earlier."""
        collection = database[_COLLECTIONS[number % len(_COLLECTIONS)]]
        first = number * _INSERT_BATCH
        collection.insert_many(
            [{"_id": first + index, "text": "x" * 120} for index in range(_INSERT_BATCH)],
            ordered=False,
        )
        collection.delete_many({"_id": {"$lt": first - _KEPT_BATCHES * _INSERT_BATCH}})
        if number % _BATCHES_PER_LOOK == 0:
            wait_until(lambda: self._lag_s() < _LAG_S, timeout_s=_DRAIN_S, what="the lag to shrink")


@click.command()
@click.option("--minutes", default=10.0, show_default=True)
def main(minutes: float) -> None:
    """Print how often the leader changed, and how many events passed meanwhile."""
    with running_cluster(_COLLECTIONS, max_age_s=_KEPT_S) as cluster:
        instances = list(cluster.instances.values())
        settled = [len(instance.log("cluster.leader_elected")) for instance in instances]
        began_at = time.monotonic()

        def lag_s() -> float:
            lanes = [
                lane for each in instances for lane in each.get("/status").json()["collections"]
            ]
            return max(lane["lag_s"] or 0 for lane in lanes)

        with writing(cluster.deployment, _Load(lag_s), pause_s=0):
            while (passed_s := time.monotonic() - began_at) < minutes * 60:
                instances[0].run_for(min(_REPORT_EACH_S, minutes * 60 - passed_s))
                elected = [len(instance.log("cluster.leader_elected")) for instance in instances]
                changes = [now - before for now, before in zip(elected, settled, strict=True)]
                info = ask_jetstream(
                    cluster.deployment.nats_url, f"STREAM.INFO.{cluster.deployment.stream}"
                )
                messages = info["state"]["last_seq"]
                print(
                    f"{time.monotonic() - began_at:.0f} s: {messages} messages in the stream; "
                    f"changes of leader that each instance has seen: {changes}",
                    flush=True,
                )


if __name__ == "__main__":
    main()
