"""`mnc migrate`: take over the positions of an earlier connector."""

from __future__ import annotations

import os
from collections.abc import Sequence

import click
import trio

from mnc.capture.options import CaptureOptions
from mnc.cli.options import timeout_option
from mnc.cli.settings import SettingsCommand
from mnc.config import Settings, load_settings
from mnc.drivers.mongo.changes import MongoChangeSource
from mnc.drivers.mongo.checkpoints import MongoCheckpointStore
from mnc.drivers.mongo.connection import MongoConnection
from mnc.drivers.mongo.earlier import MongoEarlierConnector
from mnc.drivers.nats.look import JetStreamLook, StreamsByCollection
from mnc.drivers.nats.session import NatsSession
from mnc.drivers.nats.stream import JetStream
from mnc.encode.subject import marker_subject, stream_subjects
from mnc.errors import ConfigError, SinkUnavailableError
from mnc.migration.decision import Decision, Kept, Refused, Standing, TakeOver, decide
from mnc.migration.takeover import lost_positions, survey, take_over
from mnc.telemetry.logging import configure_logging

__all__ = ["migrate"]

_EXIT_REFUSED = 2

_Plan = Sequence[tuple[Standing, Decision]]


def _place(_: click.Context, __: click.Parameter, value: str | None) -> str | None:
    """Check the name of a token collection."""
    if value is not None and not all(value.partition(".")):
        raise click.BadParameter("it is not like DATABASE.COLLECTION")
    return value


@click.command(cls=SettingsCommand)
@click.option("--apply", "is_applied", is_flag=True, help="Do it; without this, only say it.")
@click.option(
    "--tokens",
    "place",
    metavar="DATABASE.COLLECTION",
    callback=_place,
    help="Where the earlier connector keeps its resume tokens; a * stands for the name of each "
    "watched collection.  [default: MONGO_RESUME_TOKENS_COLLECTION in the database of MONGO_URI]",
)
@click.option(
    "--published-to",
    "earlier_streams",
    metavar="STREAM",
    help="The stream that the earlier connector had for each collection, where it is another than "
    "NATS_STREAM_NAME; a * stands for the collection's name in upper case.",
)
@timeout_option("How long NATS may take to answer.")
def migrate(
    place: str | None, earlier_streams: str | None, timeout_s: float, *, is_applied: bool
) -> int:
    """Take over the positions of an earlier connector, so that nothing is lost or repeated.

    Stop the earlier connector first. Says for each of MONGO_WATCH_COLLECTIONS where `mnc serve`
    goes on: a line with tabs between what is done (take over, keep, refuse), the collection, what
    was found, and what to do. With --apply it is done then, unless a collection is refused.

    Ends with 0 unless a collection is refused, which is 2, as a wrong setting is.
    """
    settings = load_settings(os.environ)
    if any(
        database != settings.mongo_database or selection.globs
        for database, selection in settings.selections.databases.items()
    ):
        raise ConfigError(
            "MONGO_WATCH_COLLECTIONS",
            "an earlier connector had collections of the database in MONGO_URI, each by its name",
            remedy="leave out others for this command",
        )
    if settings.streams != (settings.nats_stream_name,):
        raise ConfigError(
            "MNC_CONFIG",
            f"sections have streams of their own: {', '.join(settings.streams[1:])}; but positions "
            "are taken over for NATS_STREAM_NAME alone",
            remedy="run this command without MNC_CONFIG once for each stream: with its name in "
            "NATS_STREAM_NAME, and its collections in MONGO_WATCH_COLLECTIONS",
        )
    configure_logging("error", "auto")
    plan = trio.run(_migrate, settings, place, earlier_streams, timeout_s, is_applied)
    for standing, decision in plan:
        click.echo(_line(standing.collection, decision))
    if any(isinstance(decision, Refused) for _, decision in plan):
        click.echo("Nothing was changed.", err=True)
        return _EXIT_REFUSED
    if is_applied:
        click.echo("Done: start `mnc serve`, and leave the earlier connector stopped.", err=True)
    else:
        click.echo("Nothing was changed; --apply does it.", err=True)
    return 0


async def _migrate(
    settings: Settings,
    place: str | None,
    earlier_streams: str | None,
    timeout_s: float,
    is_applied: bool,
) -> _Plan:
    """Return what is to be done for each collection, after doing it if it is to be applied."""
    mongo = MongoConnection(settings.mongo_uri.get_secret_value(), app_name="mnc migrate")
    session = NatsSession(settings.nats_servers, name="mnc migrate", security=settings)
    store = MongoCheckpointStore(
        mongo,
        collection=settings.mongo_resume_tokens_collection,
        stream_of=settings.stream_of,
    )
    async with trio.open_nursery() as nursery:
        await nursery.start(session.run)
        with trio.move_on_after(timeout_s) as scope:
            await session.wait_connected()
        if scope.cancelled_caught:
            raise SinkUnavailableError(
                f"NATS can't be reached: {session.last_error or 'no answer in time'}",
                remedy="see what `mnc check` says",
            )
        default_place = f"{settings.mongo_database}.{settings.mongo_resume_tokens_collection}"
        standings = await survey(
            settings.selections.names,
            database=settings.mongo_database,
            earlier=MongoEarlierConnector(mongo, place=place or default_place),
            earlier_stream=None
            if earlier_streams is None
            else StreamsByCollection(
                session,
                streams=earlier_streams,
                database=settings.mongo_database,
                timeout_s=timeout_s,
            ),
            stream=JetStreamLook(session, stream=settings.nats_stream_name, timeout_s=timeout_s),
            store=store,
        )
        source = MongoChangeSource(mongo, options=CaptureOptions(full_document="off"))
        lost = await lost_positions(source, standings)
        plan = [(standing, decide(standing, lost)) for standing in standings]
        if is_applied and not any(isinstance(decision, Refused) for _, decision in plan):
            await _apply(settings, plan, session=session, store=store)
        nursery.cancel_scope.cancel()
    await mongo.close()
    return plan


async def _apply(
    settings: Settings, plan: _Plan, *, session: NatsSession, store: MongoCheckpointStore
) -> None:
    stream = JetStream(
        session,
        stream=settings.nats_stream_name,
        subjects=stream_subjects(settings.nats_stream_name),
        ack_timeout_s=settings.nats_ack_timeout_s,
        require_fencing=settings.nats_require_fencing,
    )
    await stream.ensure()
    for standing, decision in plan:
        if isinstance(decision, TakeOver):
            await take_over(
                standing,
                decision,
                database=settings.mongo_database,
                marker_subject=marker_subject(
                    stream=settings.nats_stream_name, collection=standing.collection
                ),
                stream=stream,
                store=store,
            )


def _line(collection: str, decision: Decision) -> str:
    match decision:
        case TakeOver(found=found):
            return f"take over\t{collection}\t{found}"
        case Kept(found=found):
            return f"keep\t{collection}\t{found}"
        case Refused(found=found, remedy=remedy):
            return f"refuse\t{collection}\t{found}\t{remedy}"
