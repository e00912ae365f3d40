"""`mnc up`: the connector with servers of its own, to try it or to develop against it."""

from __future__ import annotations

import os
import random
import signal
import sys
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from functools import partial
from pathlib import Path

import click
import structlog
import trio

from mnc import __version__
from mnc.cli.signals import shut_down_on_signals
from mnc.config import Settings, load_settings
from mnc.config.names import check_collection, check_unique
from mnc.drivers.nats.session import NatsSession
from mnc.drivers.nats.tail import StreamFollower
from mnc.embedded.demo import write_demo
from mnc.embedded.folder import DataFolder, open_data_folder
from mnc.embedded.process import ServerProcess, is_port_taken
from mnc.embedded.samples import SAMPLES
from mnc.embedded.servers import start_mongod, start_nats_server
from mnc.encode.subject import event_filters
from mnc.errors import ConfigError, SinkError
from mnc.service import Running, run_service
from mnc.telemetry.logging import configure_logging
from mnc.terminal.follow import follow
from mnc.terminal.output import Output
from mnc.terminal.places import Places
from mnc.terminal.views import live_view, plain_view

__all__ = ["up"]

_DATABASE = "mnc"
_STREAM = "cs"
_MONGO_PORT, _NATS_PORT, _HTTP_PORT = 27017, 4222, 3000
_SEED = 872
"""Its first changes, on empty collections, are of every kind: there is something to see soon."""

_CHECK_INTERVAL_S = 0.5
_READY_INTERVAL_S = 0.1

_PORT = click.IntRange(0, 65535)


def _collections(_: click.Context, __: click.Parameter, value: str) -> tuple[str, ...]:
    """Read the names of the collections to watch."""
    names = tuple(name.strip() for name in value.split(","))
    try:
        for name in names:
            check_collection(name, database=_DATABASE)
        return check_unique(names)
    except ValueError as error:
        raise click.BadParameter(str(error)) from error


@click.command()
@click.option("--demo", is_flag=True, help="Change sample documents a few times a second.")
@click.option(
    "--collections",
    default=",".join(SAMPLES),
    show_default=True,
    metavar="NAMES",
    callback=_collections,
    help="The collections to watch, separated by commas.",
)
@click.option(
    "--data-dir",
    type=click.Path(path_type=Path),
    default=Path(".mnc"),
    show_default=True,
    help="The folder that the servers keep their data in.",
)
@click.option("--reset", is_flag=True, help="Remove the data of earlier runs first.")
@click.option(
    "--mongo-port", type=_PORT, help=f"MongoDB's port.  [default: {_MONGO_PORT}, or a free one]"
)
@click.option(
    "--nats-port",
    type=_PORT,
    help=f"The NATS server's port.  [default: {_NATS_PORT}, or a free one]",
)
@click.option(
    "--http-port",
    type=_PORT,
    envvar="HTTP_PORT",
    help=f"The connector's port.  [default: {_HTTP_PORT}, or a free one]",
)
def up(
    *,
    demo: bool,
    collections: tuple[str, ...],
    data_dir: Path,
    reset: bool,
    mongo_port: int | None,
    nats_port: int | None,
    http_port: int | None,
) -> None:
    """Run the connector on servers of its own, and show the events that arrive.

    Starts a real mongod (a replica set of one) and nats-server (JetStream) on this machine only,
    and connects them: everything written to the watched collections of the database `mnc` arrives
    in the stream `cs`. Ctrl-C ends all of it. The data stays, and the next run goes on with it.

    A server's program is looked for on PATH first, then in the `embedded` extra.
    """
    samples = [name for name in collections if name in SAMPLES] if demo else []
    if demo and not samples:
        raise click.UsageError(f"--demo changes {' and '.join(SAMPLES)}: watch one of them")
    # As Ctrl-C does, so that servers are stopped in order also while the first one starts.
    signal.signal(signal.SIGTERM, lambda *_: signal.raise_signal(signal.SIGINT))
    with open_data_folder(data_dir, reset=reset) as folder, ExitStack() as resources:
        mongod = start_mongod(
            folder.mongod_dir, port=_port("--mongo-port", mongo_port, standard=_MONGO_PORT)
        )
        resources.callback(mongod.stop)
        nats_server = start_nats_server(
            folder.nats_dir, port=_port("--nats-port", nats_port, standard=_NATS_PORT)
        )
        resources.callback(nats_server.stop)
        settings = load_settings(
            {
                "MONGO_URI": mongod.database_uri(_DATABASE),
                "MONGO_WATCH_COLLECTIONS": ",".join(f"{_DATABASE}.{name}" for name in collections),
                "NATS_SERVER_URL": nats_server.url,
                "NATS_STREAM_NAME": _STREAM,
                "RAFT_CLUSTER_SIZE": "1",
                "HTTP_HOST": "127.0.0.1",
                "HTTP_PORT": str(_port("--http-port", http_port, standard=_HTTP_PORT)),
            }
        )
        if sys.stdout.isatty():
            log = resources.enter_context(folder.log_path.open("a", encoding="utf-8"))
            configure_logging("info", "console", log)
        else:
            configure_logging("warning", "auto")
        trio.run(
            partial(_up, settings, servers=[mongod, nats_server], folder=folder, samples=samples)
        )
    with suppress(OSError):  # not through sys.stderr, whose last flush fails with the terminal gone
        os.write(sys.stderr.fileno(), f"mnc: stopped; the data stays in {folder.path}\n".encode())


def _port(option: str, asked: int | None, *, standard: int) -> int:
    """Return the port to use; 0 means a free one. Raises ConfigError for a taken one."""
    if asked is None:
        return 0 if is_port_taken(standard) else standard
    if asked and is_port_taken(asked):
        raise ConfigError(
            option,
            f"port {asked} is taken by another process",
            remedy="name another port, or 0 for a free one",
        )
    return asked


async def _up(
    settings: Settings,
    *,
    servers: Sequence[ServerProcess],
    folder: DataFolder,
    samples: Sequence[str],
) -> None:
    """Run the connector, the view and the sample changes until a signal; then drain."""
    stream = settings.nats_stream_name
    shutdown = trio.Event()
    session = NatsSession(settings.nats_servers, name="mnc up")
    follower = StreamFollower(
        session, stream=stream, subject_filters=event_filters(stream), start=None
    )
    async with trio.open_nursery() as nursery:
        nursery.start_soon(shut_down_on_signals, shutdown, nursery.cancel_scope)
        nursery.start_soon(_watch_servers, servers)
        await nursery.start(session.run)
        await session.wait_connected()
        with suppress(SinkError):
            await follower.open()  # BEFORE the connector starts: all that it stores is shown
        running: Running = await nursery.start(_serve, settings, shutdown, nursery.cancel_scope)
        places = Places(
            version=__version__,
            mongo_uri=settings.mongo_uri.get_secret_value(),
            nats_url=settings.nats_server_url.get_secret_value(),
            stream=stream,
            http_port=running.http_port,
            data_dir=folder.path,
        )
        if samples:
            nursery.start_soon(_write_samples, running, places, samples, shutdown)
        await _show(follower, places, shutdown)


async def _watch_servers(servers: Sequence[ServerProcess]) -> None:
    """Raise ServerFailedError when a server has ended."""
    while True:
        for server in servers:
            if not server.is_alive:
                raise server.failure(f"{server.name} ended, and `mnc up` with it")
        await trio.sleep(_CHECK_INTERVAL_S)


async def _serve(
    settings: Settings,
    shutdown: trio.Event,
    scope: trio.CancelScope,
    *,
    task_status: trio.TaskStatus[Running],
) -> None:
    """Run the connector; cancel `scope` when it has drained."""
    await run_service(settings, shutdown=shutdown, task_status=task_status)
    scope.cancel()


async def _write_samples(
    running: Running, places: Places, samples: Sequence[str], shutdown: trio.Event
) -> None:
    """Change sample documents until `shutdown`, beginning when every collection is captured."""

    async def write() -> None:
        # What is written before a collection was first watched would not be an event.
        while running.readiness():  # noqa: ASYNC110 - a dozen looks at the start
            await trio.sleep(_READY_INTERVAL_S)
        rng = random.Random(_SEED)  # noqa: S311 - sample data
        await write_demo(places.mongo_uri, collections=samples, rng=rng)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(write)
        await shutdown.wait()
        nursery.cancel_scope.cancel()


async def _show(follower: StreamFollower, places: Places, shutdown: trio.Event) -> None:
    """Show the events until cancelled. The connector goes on when they can't be shown."""
    output = Output(sys.stdout.fileno(), encoding=sys.stdout.encoding)
    view = live_view if sys.stdout.isatty() else plain_view
    try:
        async with view(output, places) as shown:
            await follow(follower, show=shown.show, notice=shown.notice)
    except BrokenPipeError:
        shutdown.set()  # who reads has seen enough, as in `mnc up --demo | head`
    except Exception:  # noqa: BLE001 - whatever is wrong with a terminal, events go on arriving
        structlog.get_logger().exception("view.failed")
