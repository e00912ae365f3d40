"""How long `mnc serve` can do nothing else, for each kind of work that might keep it from turning.

    python -m bench.stalls [--only NAME]

Each kind of work has a connector of its own on one pair of embedded servers, which watches it from
the first write to the last event's storing, and then says its longest stall, and during what.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import click
from bson import Int64, ObjectId
from pymongo import MongoClient
from pymongo.database import Database
from rich.console import Console
from rich.table import Table
from tests.connector import ConnectorProcess
from tests.waiting import wait_until

from mnc.embedded.servers import MongodProcess, start_mongod, start_nats_server

_TIMEOUT_S = 300.0
_NAME = "users"
_MB = 1_000_000

_Database = Database[dict[str, Any]]
_Work = Callable[[_Database], int]
"""Changes documents and returns how many events that makes."""


def _start_only(_: _Database) -> int:
    return 0


def _small(db: _Database) -> int:
    for _ in range(10):
        db[_NAME].insert_many([{"text": "x" * 120} for _ in range(5000)])
    return 50_000


def _update_many(db: _Database) -> int:
    for _ in range(20):
        db[_NAME].insert_many([{"text": "x" * 120} for _ in range(5000)])
    db[_NAME].update_many({}, {"$set": {"seen": True}})
    return 200_000


def _medium(db: _Database) -> int:
    for _ in range(20):
        db[_NAME].insert_many([{"text": "x" * 100_000} for _ in range(100)])
    return 2000


def _large(**fields: object) -> _Work:
    """Insert one large document, and update it, twice."""

    def work(db: _Database) -> int:
        for _ in range(2):
            inserted = db[_NAME].insert_one(dict(fields))
            db[_NAME].update_one({"_id": inserted.inserted_id}, {"$set": {"seen": True}})
        return 4

    return work


_WORK: dict[str, _Work] = {
    "start": _start_only,
    "50,000 small": _small,
    "update_many of 100,000": _update_many,
    "2,000 of 100 KB": _medium,
    "a string of 16 MB": _large(text="x" * 16 * _MB),
    "a binary of 12 MB": _large(data=b"x" * 12 * _MB),
    "700,000 fields": _large(**{f"field{number}": number for number in range(700_000)}),
    "1,200,000 numbers": _large(list=[1] * 1_200_000),
    "800,000 numbers of 64 bits": _large(list=[Int64(1 << 40)] * 800_000),
    "600,000 object ids": _large(list=[ObjectId()] * 600_000),
    "900,000 documents": _large(list=[{}] * 900_000),
    "900,000 doubles, one NaN": _large(list=[0.5] * 900_000 + [float("nan"), None]),
}


@click.command()
@click.option("--only", help="Just this kind of work.")
def main(only: str | None) -> None:
    """Print the longest stall of each kind of work."""
    table = Table("work", "events", "seconds", "longest stall s", "during")
    with tempfile.TemporaryDirectory(prefix="mnc-bench-") as folder:
        mongod = start_mongod(Path(folder) / "mongod", oplog_size_mb=4096)
        nats_server = start_nats_server(Path(folder) / "nats")
        try:
            for name, work in _WORK.items():
                if only in (None, name):
                    click.echo(f"{name} ...", err=True)
                    cells = _measure(work, mongod, nats_server.url, Path(folder))
                    table.add_row(name, *cells)
        finally:
            nats_server.kill()
            mongod.kill()
    Console(width=150).print(table)


def _measure(work: _Work, mongod: MongodProcess, nats_url: str, folder: Path) -> Iterator[str]:
    database = f"bench_{uuid4().hex[:8]}"
    uri = mongod.database_uri(database)
    connector = ConnectorProcess(
        {
            "MONGO_URI": uri,
            "MONGO_WATCH_COLLECTIONS": _NAME,
            "NATS_SERVER_URL": nats_url,
            "NATS_STREAM_NAME": database,
        },
        log_path=folder / f"{database}.log",
    )
    try:
        connector.wait_ready()
        began_at = time.monotonic()
        with MongoClient[dict[str, Any]](uri) as client:
            events = work(client[database])
            wait_until(
                lambda: connector.counted("events_published") >= events,
                timeout_s=_TIMEOUT_S,
                what="the last event's storing",
            )
            client.drop_database(database)
        took_s = time.monotonic() - began_at
        loop = connector.get("/status").json()["loop"]
        yield f"{events:,}"
        yield f"{took_s:.1f}"
        yield f"{loop['longest_s']:.3f}"
        yield loop["during"]
        connector.terminate()
    finally:
        connector.kill()


if __name__ == "__main__":
    main()
