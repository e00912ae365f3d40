"""What it costs that the stream grows: rate and latency with more and more subjects in it.

    python -m bench.growth [--subjects 10000 --subjects 100000 --subjects 1000000]

Every document has a subject of its own, and a nats-server holds all subjects of a stream in memory.
The stream of one pair of servers is filled step by step with small messages, each of another
subject, as mnc gives them; at each step a backlog is drained and latencies are measured, as
`bench.drain` and `bench.latency` do. The limit is the first step.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path

import click
import nats

from bench.backlog import drain, insert, settle
from bench.figures import print_table
from bench.latency import COLUMNS, measure_connector
from bench.openloop import Load
from bench.plots import plot_option, save_lines
from bench.processes import rss_mb
from bench.servers import STREAM, fresh_servers

__all__: list[str] = []

_BACKLOG_NAME = "backlog"
_PACED_NAME = "paced"
_NAMES = (_BACKLOG_NAME, _PACED_NAME)
_FILL_NAME = "fill"
_FILL_WINDOW = 1000
_TEXT_BYTES = 120


@click.command()
@click.option(
    "--subjects",
    "steps",
    type=click.IntRange(min=1),
    multiple=True,
    default=(10_000, 100_000, 1_000_000),
    show_default=True,
    help="How many the stream has at each step; may be given several times, upwards.",
)
@click.option("--events", default=30_000, show_default=True, help="Events in each backlog.")
@click.option("--rate", default=100, show_default=True, help="Inserts a second, for latency.")
@click.option("--seconds", default=10.0, show_default=True, help="How long, at each step.")
@plot_option
def main(
    *, steps: Sequence[int], events: int, rate: int, seconds: float, plot: Path | None
) -> None:
    """Print rate and latency as the stream grows."""
    rows: list[Sequence[str]] = []
    rates: list[tuple[float, float]] = []
    with fresh_servers() as servers:
        settle(servers, _NAMES)
        stored = filled = 0
        for turn, subjects in enumerate(steps):
            click.echo(f"{subjects:,} subjects ...", err=True)
            missing = max(0, subjects - stored)
            asyncio.run(_fill(servers.nats_server.url, filled, missing))
            filled += missing
            stored += missing
            insert(
                servers.database,
                [_BACKLOG_NAME],
                events,
                text_bytes=_TEXT_BYTES,
                first_id=turn * events,
            )
            drained = drain(
                servers,
                lambda: [servers.start(_NAMES)],
                events=events,
            )
            load = Load(per_s=rate, seconds=seconds, warm_up_s=1, first=turn * 1_000_000)
            connector = servers.start(_NAMES)
            connector.wait_ready()
            latencies = measure_connector(servers, _PACED_NAME, load)
            connector.terminate()
            stored += events + load.documents
            rates.append((subjects, drained.per_s))
            rows.append(
                (
                    f"{subjects:,}",
                    f"{drained.per_s:,.0f}",
                    f"{drained.per_s / rates[0][1]:.2f}",
                    f"{drained.first_event_s:.2f}",
                    f"{drained.cpu_us['nats-server']:.1f}",
                    *latencies.cells(),
                    f"{rss_mb(servers.nats_server.pid):.0f}",
                )
            )
    columns = ("drain /s", "of the first", "first event s", "CPU us: nats-server")
    print_table(
        f"Growth: {events:,} events drained, and {rate}/s, on a stream of so many subjects",
        ("subjects", *columns, *COLUMNS, "its RSS MB"),
        rows,
    )
    if plot:
        save_lines(
            plot,
            title="Drain rate as the stream grows",
            x_label="subjects in the stream",
            y_label="events a second",
            lines={"mnc": rates},
            logarithmic="x",
            ticks={subjects: f"{subjects:,}" for subjects in steps},
        )


async def _fill(url: str, first: int, messages: int) -> None:
    """Publish messages of as many subjects, and return when the stream has stored them.

    The last one of each window waits for its acknowledgement, so that the server isn't overrun.
    """
    client = await nats.connect(url)
    jetstream = client.jetstream()
    payload = b"x" * _TEXT_BYTES
    for number in range(first, first + messages):
        subject = f"{STREAM}.{_FILL_NAME}.insert.{number}"
        if (number + 1) % _FILL_WINDOW and number + 1 < first + messages:
            await client.publish(subject, payload)
        else:
            await jetstream.publish(subject, payload)
    await client.close()


if __name__ == "__main__":
    main()
