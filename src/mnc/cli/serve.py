"""`mnc serve`: the connector, with settings from the environment."""

from __future__ import annotations

import os

import click
import structlog
import trio

from mnc.allocator import bound_allocator
from mnc.cli.settings import SettingsCommand
from mnc.cli.signals import shut_down_on_signals
from mnc.config import Settings, load_settings, near_misses
from mnc.interpreter import collect_seldom, hasten_threads
from mnc.service import run_service
from mnc.telemetry.logging import configure_logging

__all__ = ["serve"]


@click.command(cls=SettingsCommand)
def serve() -> None:
    """Run the connector until SIGTERM or SIGINT.

    Watches the collections of MONGO_WATCH_COLLECTIONS, stores every change in the JetStream stream
    NATS_STREAM_NAME, and answers /health, /livez, /readyz, /status and /metrics on HTTP_PORT.
    A first signal drains what is in flight, for SHUTDOWN_TIMEOUT_S seconds at most; a second one
    ends the process at once. Nothing is lost either way.
    """
    bound_allocator()
    hasten_threads()
    collect_seldom()
    settings = load_settings(os.environ)
    configure_logging(settings.log_level, settings.log_format)
    for name, meant in near_misses(os.environ).items():
        structlog.get_logger().warning("settings.unknown_variable", found=name, meant=meant)
    trio.run(_serve, settings)


async def _serve(settings: Settings) -> None:
    shutdown = trio.Event()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(shut_down_on_signals, shutdown, nursery.cancel_scope)
        await run_service(settings, shutdown=shutdown)
        nursery.cancel_scope.cancel()
