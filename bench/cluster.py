"""Three `mnc serve` on fresh embedded servers, for benches of the cluster."""

from __future__ import annotations

import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from pymongo import MongoClient
from pymongo.database import Database
from tests.cluster import SIZE, Cluster
from tests.deployment import Deployment
from tests.jetstream import ask_jetstream
from tests.waiting import wait_until

from mnc.embedded.servers import start_mongod, start_nats_server

__all__ = ["running_cluster", "wait_balanced", "writing"]

_BALANCED_S = 60.0


@contextmanager
def running_cluster(collections: Sequence[str], *, max_age_s: float = 0) -> Iterator[Cluster]:
    """Give a cluster in which each instance has a collection; one for each is needed.

    The stream keeps its messages for `max_age_s` seconds; 0 is for ever.
    """
    with ExitStack() as cleanup:
        folder = Path(cleanup.enter_context(tempfile.TemporaryDirectory(prefix="mnc-bench-")))
        mongod = start_mongod(folder / "mongod")
        cleanup.callback(mongod.kill)
        nats_server = start_nats_server(folder / "nats")
        cleanup.callback(nats_server.kill)
        deployment = Deployment(
            mongo_uri=mongod.uri,
            nats_url=nats_server.url,
            collections=collections,
            settings={},
            folder=folder,
        )
        cleanup.callback(deployment.client.close)
        cleanup.callback(deployment.kill)
        ask_jetstream(
            nats_server.url,
            f"STREAM.CREATE.{deployment.stream}",
            {
                "name": deployment.stream,
                "subjects": [f"{deployment.stream}.*.*.*"],
                "max_age": round(max_age_s * 1e9),
            },
        )
        cluster = Cluster(deployment, folder=folder)
        wait_balanced(cluster)
        yield cluster


def wait_balanced(cluster: Cluster) -> None:
    """Wait until each instance has its share, and is ready."""
    wait_until(
        lambda: set(cluster.owners().values()) == set(range(SIZE)),
        timeout_s=_BALANCED_S,
        what="each instance to own a collection",
    )
    cluster.wait_working()


@contextmanager
def writing(
    deployment: Deployment,
    write: Callable[[Database[dict[str, Any]], int], None],
    *,
    pause_s: float,
) -> Iterator[None]:
    """Call `write` with the database and the number of the call, again and again in a thread."""
    stopped = threading.Event()

    def run() -> None:
        with MongoClient[dict[str, Any]](deployment.mongo_uri) as client:
            number = 0
            while not stopped.wait(pause_s):
                write(client[deployment.database], number)
                number += 1

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield
    finally:
        stopped.set()
        thread.join()
