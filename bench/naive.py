"""The plain way, for comparison: each event is published, acknowledged, and its token stored.

    python -m bench.naive    (settings as those of `mnc serve`, in the environment)

It works until it is ended. `python -m bench.drain --compare` runs it on the same backlog as mnc.
Events can't be lost, and inside the stream's duplicate window they aren't doubled.
"""

from __future__ import annotations

import asyncio
import signal
import sys
from types import FrameType
from typing import Any

import click
import nats
from bson import json_util
from nats.js import JetStreamContext
from pymongo import MongoClient

__all__: list[str] = []

_TOKENS = "cs_resume_tokens"


@click.command()
@click.option("--uri", envvar="MONGO_URI", required=True, help="MongoDB, with a database.")
@click.option("--collections", envvar="MONGO_WATCH_COLLECTIONS", required=True, help="Names.")
@click.option("--nats-url", envvar="NATS_SERVER_URL", required=True, help="The NATS server.")
@click.option("--stream", envvar="NATS_STREAM_NAME", required=True, help="The stream.")
def main(uri: str, collections: str, nats_url: str, stream: str) -> None:
    """Publish one event after the other, and store each one's resume token."""
    signal.signal(signal.SIGTERM, _end)
    with asyncio.Runner() as runner, MongoClient[dict[str, Any]](uri) as client:
        jetstream = runner.run(_connect(nats_url, stream))
        database = client.get_default_database()
        stored = database[_TOKENS].find_one({"_id": stream})
        pipeline = [{"$match": {"ns.coll": {"$in": collections.split(",")}}}]
        with database.watch(
            pipeline,
            full_document="updateLookup",
            start_after=None if stored is None else stored["token"],
        ) as changes:
            if stored is None:
                # There is a position before the first event.
                _store(database, stream, changes.resume_token)
            for change in changes:
                runner.run(_publish(jetstream, stream, change))
                _store(database, stream, change["_id"])


async def _connect(nats_url: str, stream: str) -> JetStreamContext:
    client = await nats.connect(nats_url)
    jetstream = client.jetstream()
    await jetstream.add_stream(name=stream, subjects=[f"{stream}.>"])
    return jetstream


async def _publish(jetstream: JetStreamContext, stream: str, change: dict[str, Any]) -> None:
    name, operation = change["ns"]["coll"], change["operationType"]
    await jetstream.publish(
        f"{stream}.{name}.{operation}.{change['documentKey']['_id']}",
        json_util.dumps(change, json_options=json_util.RELAXED_JSON_OPTIONS).encode(),
        headers={"Nats-Msg-Id": change["_id"]["_data"]},
    )


def _store(database: Any, stream: str, token: Any) -> None:
    database[_TOKENS].replace_one({"_id": stream}, {"token": token}, upsert=True)


def _end(_: int, __: FrameType | None) -> None:
    sys.exit(0)


if __name__ == "__main__":
    main()
