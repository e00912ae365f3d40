"""How fast a backlog drains over many collections, by one instance and by several.

    python -m bench.scale [--collections 1 --collections 20 ...] [--instances 1 --instances 3]

Each pair has fresh servers. The same events are spread evenly over the collections; the rate is
that of all instances together, and the CPU of the connectors is the sum. On a machine of two cores,
which servers and instances share, several instances can't be faster: what counts is what they cost.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import click

from bench.backlog import drain, insert, now, read_raw
from bench.figures import print_table
from bench.instances import start_instances, wait_capturing
from bench.plots import plot_option, save_lines
from bench.servers import fresh_servers

__all__: list[str] = []


@click.command()
@click.option("--events", default=60_000, show_default=True, help="Events in the backlog.")
@click.option(
    "--collections",
    "counts",
    type=click.IntRange(min=1),
    multiple=True,
    default=(1, 20, 100, 500),
    show_default=True,
    help="How many collections; may be given several times.",
)
@click.option(
    "--instances",
    "sizes",
    type=click.IntRange(1, 9),
    multiple=True,
    default=(1, 3),
    show_default=True,
    help="How many instances; may be given several times.",
)
@plot_option
def main(*, events: int, counts: Sequence[int], sizes: Sequence[int], plot: Path | None) -> None:
    """Print what collections and instances cost."""
    rows: list[Sequence[str]] = []
    lines: dict[str, list[tuple[float, float]]] = {}
    for instances in sizes:
        for collections in counts:
            click.echo(f"{instances} instance(s), {collections} collections ...", err=True)
            rate, cells = _measure(events, collections, instances)
            rows.append((f"{instances}: {collections}", *cells))
            lines.setdefault(f"{instances} instance(s)", []).append((collections, rate))
    columns: tuple[str, ...] = ("raw /s", "drain /s", "ratio", "first event s", "start CPU s")
    columns += ("CPU us: connectors", "mongod", "nats-server", "most RSS MB")
    print_table(f"Drain of {events:,} events", ("instances: collections", *columns), rows)
    if plot:
        save_lines(
            plot,
            title=f"Drain of {events:,} events",
            x_label="collections",
            y_label="events a second",
            lines=lines,
            logarithmic="x",
            ticks={count: f"{count}" for count in counts},
        )


def _measure(events: int, collections: int, instances: int) -> tuple[float, Sequence[str]]:
    """Return the rate, and all figures as they are printed."""
    names = [f"c{index}" for index in range(collections)]
    with fresh_servers() as servers:
        settled = start_instances(servers, names, instances)
        wait_capturing(settled, names)
        for instance in settled:
            instance.terminate()
        start = now(servers.database)
        insert(servers.database, names, events, text_bytes=120)
        raw_per_s = read_raw(servers.database, start, names, events)
        drained = drain(
            servers,
            lambda: start_instances(servers, names, instances),
            events=events,
        )
    return drained.per_s, (
        f"{raw_per_s:,.0f}",
        f"{drained.per_s:,.0f}",
        f"{drained.per_s / raw_per_s:.3f}",
        f"{drained.first_event_s:.2f}",
        f"{drained.start_cpu_s:.2f}",
        *(f"{spent_us:.1f}" for spent_us in drained.cpu_us.values()),
        f"{drained.peak_rss_mb:.0f}",
    )


if __name__ == "__main__":
    main()
