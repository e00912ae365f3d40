"""`mnc snapshot`: have the documents that a collection has now published."""

from __future__ import annotations

import os
from collections.abc import Sequence

import click
import trio

from mnc.cli.settings import SettingsCommand
from mnc.config import Settings, load_settings
from mnc.drivers.mongo.connection import MongoConnection
from mnc.drivers.mongo.requests import MongoSnapshotRequests
from mnc.errors import CheckpointRefusedError, ConfigError
from mnc.model import Namespace
from mnc.telemetry.logging import configure_logging

__all__ = ["snapshot"]


@click.command(cls=SettingsCommand)
@click.argument("collections", nargs=-1, required=True, metavar="COLLECTION...")
def snapshot(collections: tuple[str, ...]) -> None:
    """Have the documents that collections have now published, as `read`.

    A collection is named as in MONGO_WATCH_COLLECTIONS: with its database, if that is another than
    the one in MONGO_URI.

    The request is left in MongoDB, in the collections' token documents; the instance that owns a
    collection begins within seconds, whichever that is, also after a restart. Changes wait while
    the snapshot is taken, and come behind it.
    """
    settings = load_settings(os.environ)
    configure_logging("error", "auto")
    for name in collections:
        if not settings.selections.wants(name):
            raise ConfigError("MONGO_WATCH_COLLECTIONS", f"{name!r} is not among them")
    trio.run(_request, settings, collections)


async def _request(settings: Settings, collections: Sequence[str]) -> None:
    mongo = MongoConnection(settings.mongo_uri.get_secret_value(), app_name="mnc snapshot")
    requests = MongoSnapshotRequests(
        mongo,
        collection=settings.mongo_resume_tokens_collection,
        stream_of=settings.stream_of,
    )
    for name in collections:
        namespace = Namespace.of(name, home=settings.mongo_database)
        if not await requests.make(namespace):
            raise CheckpointRefusedError(
                f"{namespace} is not watched for stream {settings.stream_of(namespace)} yet",
                remedy="start `mnc serve` first, with MONGO_SNAPSHOT=initial if the documents that "
                "are there are wanted",
            )
        click.echo(f"{namespace}: requested; `mnc status` and the log say how far it is")
    await mongo.close()
