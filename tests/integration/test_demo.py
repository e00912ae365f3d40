"""The sample changes go on for as long as they are wanted, whatever happens to MongoDB."""

from __future__ import annotations

import random
from functools import partial
from typing import Any

import trio
from pymongo import MongoClient
from structlog.testing import capture_logs
from tests.servers import StartMongod
from tests.waiting import wait_until

from mnc.embedded.demo import write_demo
from mnc.embedded.servers import MongodProcess

TIMEOUT_S = 60


async def wait_for_changes(server: MongodProcess, count: int) -> None:
    """Wait until that many more changes were made."""

    def wait() -> None:
        with (
            MongoClient[dict[str, Any]](server.uri) as client,
            client["shop"].watch(max_await_time_ms=200) as changes,
        ):
            for _ in range(count):
                next(changes)

    await trio.to_thread.run_sync(wait)


async def test_samples_outlive_an_outage(start_own_mongod: StartMongod) -> None:
    """Writes that fail are logged and made again after MongoDB's return; cancelling ends them."""
    server = start_own_mongod()
    write = partial(
        write_demo,
        server.database_uri("shop"),
        collections=["users", "movies"],
        rng=random.Random(1),
    )
    with trio.fail_after(TIMEOUT_S), capture_logs() as logs:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(write)
            await wait_for_changes(server, 5)
            server.kill()
            await trio.to_thread.run_sync(
                lambda: wait_until(lambda: logs, timeout_s=TIMEOUT_S, what="a failed write")
            )
            again = start_own_mongod(server.data_dir, port=server.port)
            await wait_for_changes(again, 5)
            nursery.cancel_scope.cancel()
    assert {line["event"] for line in logs} == {"demo.failed"}
