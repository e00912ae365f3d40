"""`mnc check`: try the settings on the servers, and say what to do about what is found."""

from __future__ import annotations

import os
import sys
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from typing import TypeVar

import click
import trio
from rich.console import Console

from mnc.cli.options import timeout_option
from mnc.cli.settings import SettingsCommand
from mnc.config import Selections, Settings, load_settings, near_misses
from mnc.drivers.mongo.connection import MongoConnection
from mnc.drivers.mongo.inspect import inspect_mongo
from mnc.drivers.mongo.newcomers import MongoNewcomerSource
from mnc.drivers.nats.inspect import inspect_nats
from mnc.drivers.nats.session import NatsSession
from mnc.errors import SinkError, SourceError
from mnc.model import collection_key
from mnc.preflight.facts import MongoFacts, NatsFacts
from mnc.preflight.finding import Finding, has_problem
from mnc.preflight.mongo import mongo_findings
from mnc.preflight.nats import nats_findings
from mnc.preflight.positions import position_findings
from mnc.preflight.report import json_report, plain_report, terminal_report
from mnc.preflight.settings import settings_findings
from mnc.service.policies import capture_options
from mnc.telemetry.logging import configure_logging

__all__ = ["check"]

_One = TypeVar("_One")
_Other = TypeVar("_Other")

_EXIT_PROBLEM = 1


@click.command(cls=SettingsCommand)
@timeout_option("How long each server may take to answer.")
@click.option("--json", "as_json", is_flag=True, help="Print one object of JSON.")
def check(timeout_s: float, *, as_json: bool) -> int:
    """Try the settings on the servers, and say what to do about what is found.

    Asks MongoDB and NATS at the same time; changes nothing on either. Prints a table on a terminal,
    else a line for each finding, with tabs between its level (ok, unknown, warning, problem), what
    it is about, what was found, and what to do.

    Ends with 0 unless there is a problem that keeps `mnc serve` from working, which is 1, or a
    wrong setting, which is 2.
    """
    settings = load_settings(os.environ)
    configure_logging("error", "auto")  # what the clients have to say is among the findings
    findings = [
        *settings_findings(settings, near_misses(os.environ)),
        *trio.run(_ask_servers, settings, timeout_s),
    ]
    _print(findings, as_json=as_json)
    return _EXIT_PROBLEM if has_problem(findings) else 0


async def _ask_servers(settings: Settings, timeout_s: float) -> list[Finding]:
    """Collect the facts about both servers and judge them.

    Raises ConfigError when a client refuses its setting.
    """
    mongo = MongoConnection(settings.mongo_uri.get_secret_value(), app_name="mnc check")
    session = NatsSession(settings.nats_servers, name="mnc check", security=settings)
    watched = await _watched(mongo, settings.selections, timeout_s)
    watched_of: dict[str, list[str]] = {name: [] for name in settings.streams}
    for key in watched:
        watched_of[settings.policy(key).stream].append(key)

    async def ask_mongo() -> MongoFacts | SourceError:
        try:
            return await inspect_mongo(
                mongo,
                databases=tuple(settings.selections.databases),
                watched=watched,
                options={capture_options(policy) for policy in settings.policies},
                tokens_collection=settings.mongo_resume_tokens_collection,
                stream_of=settings.stream_of,
                timeout_s=timeout_s,
            )
        except SourceError as error:
            return error

    async def ask_nats() -> Sequence[NatsFacts] | SinkError:
        try:
            return await inspect_nats(session, watched=watched_of, timeout_s=timeout_s)
        except SinkError as error:
            return error

    async with trio.open_nursery() as nursery:
        await nursery.start(session.run)
        of_mongo, of_nats = await _both(ask_mongo, ask_nats)
        nursery.cancel_scope.cancel()
    await mongo.close()
    return [
        *mongo_findings(of_mongo),
        *position_findings(of_mongo, of_nats),
        *nats_findings(
            of_nats,
            require_fencing=settings.nats_require_fencing,
            oversizes={
                name: {it.oversize for it in settings.policies if it.stream == name}
                for name in settings.streams
            },
        ),
    ]


async def _watched(
    mongo: MongoConnection, selections: Selections, timeout_s: float
) -> Sequence[str]:
    """Return the keys to look at: those in the settings, and what globs take of what exists."""
    found: list[str] = []
    with suppress(SourceError), trio.move_on_after(timeout_s):  # it is found again, and told
        for database, selection in selections.databases.items():
            if selection.globs:
                source = MongoNewcomerSource(mongo, selection, database=database)
                found += (
                    collection_key(database, name, home=selections.home)
                    for name in await source.existing()
                )
    return list(dict.fromkeys([*selections.names, *sorted(found)]))


async def _both(
    one: Callable[[], Awaitable[_One]], other: Callable[[], Awaitable[_Other]]
) -> tuple[_One, _Other]:
    """Run both at the same time and return what they return."""
    results: list[_One] = []

    async def run_one() -> None:
        results.append(await one())

    async with trio.open_nursery() as nursery:
        nursery.start_soon(run_one)
        result = await other()
    return results[0], result


def _print(findings: Sequence[Finding], *, as_json: bool) -> None:
    if as_json:
        click.echo(json_report(findings))
    elif sys.stdout.isatty():
        Console().print(terminal_report(findings))
    else:
        for line in plain_report(findings):
            click.echo(line)
