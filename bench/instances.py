"""One instance that works alone, or several that share the work, on a bench's servers."""

from __future__ import annotations

from collections.abc import Sequence

from tests.connector import ConnectorProcess
from tests.waiting import wait_until

from bench.servers import Servers

__all__ = ["leads", "start_instances", "wait_capturing"]

_SPREAD_S = 120.0


def start_instances(
    servers: Servers, collections: Sequence[str], count: int
) -> Sequence[ConnectorProcess]:
    """Start so many instances; started again, they have the disks that they had."""
    if count == 1:
        return [servers.start(collections)]
    return [
        servers.start(
            collections,
            RAFT_CLUSTER_SIZE=str(count),
            RAFT_CLUSTER_NAME="bench",
            RAFT_NODE_NAME=f"mnc-{number}",
            RAFT_LOG_PATH=str(servers.folder / f"raft-{number}"),
        )
        for number in range(count)
    ]


def wait_capturing(instances: Sequence[ConnectorProcess], collections: Sequence[str]) -> None:
    """Wait until each collection is captured, and each instance has one if there are enough."""

    def captured() -> Sequence[int]:
        return [
            sum(lane["state"] == "capturing" for lane in instance.collections())
            for instance in instances
        ]

    def is_spread() -> bool:
        counts = captured()
        enough = len(collections) >= len(instances)
        return sum(counts) == len(collections) and (all(counts) or not enough)

    wait_until(is_spread, timeout_s=_SPREAD_S, what="each collection to be captured")


def leads(instance: ConnectorProcess) -> bool:
    """Say whether an instance leads its cluster."""
    cluster = instance.get("/status").json()["cluster"]
    return cluster is not None and cluster["leader"] == cluster["node"]
