"""End-to-end latency: from an insert's moment to an ordered consumer's receiving its message.

    python -m bench.latency [--rate 100 --rate 1000 --rate 5000] [--seconds 20]

The load is open: each insert has a moment at which it is due, from which its latency counts, and
comes then whatever the others do. Above 1,000 a second, a call inserts several documents. Beside
`mnc` its two floors are measured at each rate: from the insert's moment until a raw change stream
has it, and from a publish's moment until JetStream has acknowledged it, one a call. Writer,
watcher and consumer are processes of their own.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import click
from tests.jetstream import ask_jetstream

from bench.children import Child, begin_together
from bench.figures import per_event_us, percentile, print_table
from bench.openloop import Load, Seen, consume, publish, watch_raw, write
from bench.plots import plot_option, save_lines
from bench.servers import STREAM, Servers, fresh_servers

__all__ = ["COLUMNS", "Latencies", "measure_connector"]

COLUMNS = ("p50 ms", "p99 ms", "p99.9 ms", "worst ms")

_SHARES = (0.5, 0.99, 0.999, 1)
_COLLECTION = "orders"
_FLOOR_COLLECTION = "floor"
_FLOOR_STREAM = "floor"


@dataclass(frozen=True, slots=True, kw_only=True)
class Latencies:
    """What was measured, the shortest first, and how late the writer's own calls began."""

    seconds: Sequence[float]
    late_s: Sequence[float]

    def cells(self) -> Sequence[str]:
        """Return them in milliseconds, as they are printed."""
        return [f"{percentile(self.seconds, share) * 1000:.2f}" for share in _SHARES]

    @property
    def median_s(self) -> float:
        """The median."""
        return percentile(self.seconds, 0.5)


@dataclass(frozen=True, slots=True, kw_only=True)
class _AtRate:
    """What was measured at one rate: the whole way, and its floors."""

    name: str
    source: Latencies
    sink: Latencies
    whole: Latencies
    cpu_us: Sequence[float]
    """Of the connector and of each server, for an event on the whole way."""

    def rows(self) -> Iterator[Sequence[str]]:
        """Give the figures as they are printed."""
        ratio = self.whole.median_s / (self.source.median_s + self.sink.median_s)
        yield f"{self.name}: insert to change stream", *self.source.cells(), "", _late(self.source)
        yield f"{self.name}: publish to ack", *self.sink.cells(), "", ""
        yield (
            f"{self.name}: insert to consumer",
            *self.whole.cells(),
            f"{ratio:.1f}",
            _late(self.whole),
        )


@click.command()
@click.option(
    "--rate",
    "rates",
    type=click.IntRange(min=1),
    multiple=True,
    default=(100, 1000, 5000),
    show_default=True,
    help="Documents a second; may be given several times.",
)
@click.option("--seconds", default=20.0, show_default=True, help="How long, at each rate.")
@click.option("--warm-up", "warm_up_s", default=3.0, show_default=True, help="Seconds before.")
@plot_option
def main(*, rates: Sequence[int], seconds: float, warm_up_s: float, plot: Path | None) -> None:
    """Print percentiles of the latency at some rates, and of its floors."""
    measured = []
    for rate in rates:
        click.echo(f"{rate:,} a second ...", err=True)
        measured.append(_measure(Load(per_s=rate, seconds=seconds, warm_up_s=warm_up_s)))
    print_table(
        "Latency",
        ("", *COLUMNS, "p50 / sum of floors", "writer late, p99 ms"),
        [row for each in measured for row in each.rows()],
    )
    print_table(
        "CPU an event, µs",
        ("", "connector", "mongod", "nats-server"),
        [(each.name, *(f"{spent_us:.0f}" for spent_us in each.cpu_us)) for each in measured],
    )
    if plot:
        lines = {}
        for each in measured:
            lines[f"{each.name}: insert to consumer"] = _distribution(each.whole.seconds)
            lines[f"{each.name}: insert to change stream"] = _distribution(each.source.seconds)
        save_lines(
            plot,
            title="Latency by percentile",
            x_label="percentile",
            y_label="milliseconds",
            lines=lines,
            logarithmic="xy",
            ticks={2: "50", 10: "90", 100: "99", 1000: "99.9"},
        )


def _measure(load: Load) -> _AtRate:
    with fresh_servers() as servers:
        ask_jetstream(
            servers.nats_server.url,
            f"STREAM.CREATE.{_FLOOR_STREAM}",
            {"name": _FLOOR_STREAM, "subjects": [_FLOOR_STREAM]},
        )
        source = _measure_source(servers, load)
        sink = _measure_sink(servers, load)
        connector = servers.start([_COLLECTION])
        connector.wait_ready()
        meter = servers.cpu_meter([connector])
        whole = measure_connector(servers, _COLLECTION, load)
        spent = meter.spent_s()
    return _AtRate(
        name=f"{load.per_s:,}/s",
        source=source,
        sink=sink,
        whole=whole,
        cpu_us=[per_event_us(spent_s, load.documents) for spent_s in spent.values()],
    )


def measure_connector(servers: Servers, collection: str, load: Load) -> Latencies:
    """Measure the way through a connector that runs, into a collection that it watches."""
    consumer = Child(consume, servers.nats_server.url, f"{STREAM}.{collection}.>", load)
    return _measure_seen(servers, collection, load, consumer)


def _measure_source(servers: Servers, load: Load) -> Latencies:
    watcher = Child(watch_raw, servers.uri, _FLOOR_COLLECTION, load)
    return _measure_seen(servers, _FLOOR_COLLECTION, load, watcher)


def _measure_seen(servers: Servers, collection: str, load: Load, watcher: Child[Seen]) -> Latencies:
    writer = Child(write, servers.uri, collection, load)
    start_at = begin_together([watcher, writer])
    late_s = writer.result()
    return Latencies(seconds=load.latencies_s(watcher.result(), start_at), late_s=late_s)


def _measure_sink(servers: Servers, load: Load) -> Latencies:
    publisher = Child(publish, servers.nats_server.url, _FLOOR_STREAM, load)
    begin_together([publisher])
    return Latencies(seconds=publisher.result(), late_s=[])


def _late(measured: Latencies) -> str:
    return f"{percentile(measured.late_s, 0.99) * 1000:.2f}"


def _distribution(ordered: Sequence[float]) -> Sequence[tuple[float, float]]:
    """Return milliseconds by 1 / (1 - share), which puts each further nine at the same distance."""
    return [
        (spread, percentile(ordered, 1 - 1 / spread) * 1000)
        for spread in (10 ** (step / 20) for step in range(1, 61))
        if spread <= len(ordered)
    ]


if __name__ == "__main__":
    main()
