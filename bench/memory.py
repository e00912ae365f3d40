"""The most memory that an instance takes, in what is known to take the most.

    python -m bench.memory [--megabytes 500] [--only NAME]

Each scenario has servers and a connector of its own; what is printed is the connector's peak of
resident memory since its start, by Linux's count. For the two gigabytes of documents of 100 KB
that docs/performance.md speaks of, give `--megabytes 2000`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from pathlib import Path

import click
from tests.connector import ConnectorProcess
from tests.waiting import wait_until

from bench.backlog import insert, settle
from bench.figures import print_table
from bench.plots import plot_option, save_bars
from bench.processes import peak_rss_mb
from bench.servers import Servers, fresh_servers

__all__: list[str] = []

_COLLECTIONS = ("users",)
_MB = 1_000_000
_LARGE = 100_000
_MEDIUM = 10_000
_SMALL_EVENTS = 100_000
_OUTAGE_MB = 200
_KEPT_S = 20.0
_TIMEOUT_S = 900.0
_GIANT_TEXT = "x" * (16 * _MB)
_GIANTS = 4

_Scenario = Callable[[Servers, int], tuple[ConnectorProcess, int]]
"""Gets servers, and how many megabytes are meant; returns the connector that is to be watched,
and how many events it has to store."""


def _rest(servers: Servers, _: int) -> tuple[ConnectorProcess, int]:
    return _started(servers), 0


def _small(servers: Servers, _: int) -> tuple[ConnectorProcess, int]:
    settle(servers, _COLLECTIONS)
    insert(servers.database, _COLLECTIONS, _SMALL_EVENTS, text_bytes=120)
    return servers.start(_COLLECTIONS), _SMALL_EVENTS


def _large(servers: Servers, megabytes: int) -> tuple[ConnectorProcess, int]:
    connector = _started(servers)
    events = megabytes * _MB // _LARGE
    insert(servers.database, _COLLECTIONS, events, text_bytes=_LARGE)
    return connector, events


def _giant(servers: Servers, _: int) -> tuple[ConnectorProcess, int]:
    connector = _started(servers)
    users = servers.database[_COLLECTIONS[0]]
    for _ in range(_GIANTS):
        inserted = users.insert_one({"text": _GIANT_TEXT})
        users.update_one({"_id": inserted.inserted_id}, {"$set": {"seen": True}})
    return connector, 2 * _GIANTS


def _outage(servers: Servers, _: int) -> tuple[ConnectorProcess, int]:
    connector = _started(servers)
    events = _OUTAGE_MB * _MB // _MEDIUM
    insert(servers.database, _COLLECTIONS, events // 4, text_bytes=_MEDIUM)
    servers.nats_server.stop()
    insert(
        servers.database,
        _COLLECTIONS,
        events - events // 4,
        text_bytes=_MEDIUM,
        first_id=events // 4,
    )
    servers.restart_nats_server()
    return connector, events


def _snapshot(servers: Servers, megabytes: int) -> tuple[ConnectorProcess, int]:
    events = megabytes * _MB // _LARGE
    insert(servers.database, _COLLECTIONS, events, text_bytes=_LARGE)
    return servers.start(_COLLECTIONS, MONGO_SNAPSHOT="initial"), events


_SCENARIOS: Mapping[str, _Scenario] = {
    "at rest": _rest,
    "backlog of small documents": _small,
    "documents of 100 KB": _large,
    "documents of 16 MB, and their updates": _giant,
    "broker away, 150 MB of 10 KB wait": _outage,
    "snapshot of documents of 100 KB": _snapshot,
}


@click.command()
@click.option(
    "--megabytes", default=500, show_default=True, help="Of documents, where it says 100 KB."
)
@click.option("--only", type=click.Choice(list(_SCENARIOS)), help="Just this scenario.")
@plot_option
def main(*, megabytes: int, only: str | None, plot: Path | None) -> None:
    """Print the peak of the connector's resident memory in each scenario."""
    rows = []
    peaks: dict[str, float] = {}
    for name, scenario in _SCENARIOS.items():
        if only in (None, name):
            click.echo(f"{name} ...", err=True)
            events, seconds, peak = _measure(scenario, megabytes)
            peaks[name] = peak
            rows.append((name, f"{events:,}", f"{seconds:.1f}", f"{peak:.0f}"))
    print_table(
        f"Peak of resident memory, {megabytes:,} MB of documents of 100 KB",
        ("scenario", "events", "seconds", "peak RSS MB"),
        rows,
    )
    if plot:
        save_bars(
            plot,
            title="Peak of resident memory",
            y_label="MB",
            groups=list(peaks),
            bars={"": list(peaks.values())},
        )


def _measure(scenario: _Scenario, megabytes: int) -> tuple[int, float, float]:
    """Return the events, the seconds that they took, and the peak in MiB."""
    with fresh_servers() as servers:
        servers.create_stream(max_age_s=_KEPT_S)
        began_at = time.monotonic()
        connector, events = scenario(servers, megabytes)
        connector.wait_for_log("service.started")
        wait_until(
            lambda: connector.counted("events_published") >= events,
            timeout_s=_TIMEOUT_S,
            what="the last event's storing",
        )
        return events, time.monotonic() - began_at, peak_rss_mb(connector.pid)


def _started(servers: Servers) -> ConnectorProcess:
    connector = servers.start(_COLLECTIONS)
    connector.wait_ready()
    return connector


if __name__ == "__main__":
    main()
