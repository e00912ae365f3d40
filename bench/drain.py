"""Drain a backlog of events, against reading the same change stream raw.

    python -m bench.drain [--events 60000] [--collections 1] [--text-bytes 120] [--rounds 3]
    python -m bench.drain --compare      beside it, the plain way: bench.naive
    python -m bench.drain --matrix       documents of four sizes, 1, 4 and 20 collections

Each round runs on fresh embedded servers: `mnc serve` is started once, so that the collections have
a position, and stopped; a backlog is inserted; the change stream is read raw, whole replies as
pymongo gets them and nothing done with them, which is the limit; then `mnc serve` is started again,
and the time is taken from the last moment without an event in the stream to the first with all.
CPU an event is that of each process in this time; what the connector used before is its start's.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import click

from bench.backlog import Drain, drain, insert, now, read_raw, settle
from bench.figures import median_round, print_table
from bench.plots import plot_option, save_bars
from bench.servers import MNC_SERVE, fresh_servers

__all__: list[str] = []

_SIZES = {"small": 120, "1 KB": 1000, "10 KB": 10_000, "100 KB": 100_000}
"""Bytes of text, by what the size is called."""

_COLLECTIONS = (1, 4, 20)
_MATRIX_EVENTS = 40_000
_MATRIX_BYTES = 200_000_000
"""Of text in one cell of the matrix at most, so that it takes minutes."""

_NAIVE_SHARE = 20
"""The plain way is given a part of the events only, because it takes so much longer; its ratio is
to the same raw rate."""

_NAIVE = (sys.executable, "-m", "bench.naive")
_COLUMNS = (
    "raw /s",
    "drain /s",
    "ratio",
    "first event s",
    "start CPU s",
    "CPU us: connector",
    "mongod",
    "nats-server",
    "RSS MB",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Round:
    """What one round measured."""

    raw_per_s: float
    drained: Drain

    @property
    def ratio(self) -> float:
        """The drain rate as a share of the raw read rate."""
        return self.drained.per_s / self.raw_per_s

    def cells(self) -> Sequence[str]:
        """Return the figures as they are printed."""
        drained = self.drained
        return (
            f"{self.raw_per_s:,.0f}",
            f"{drained.per_s:,.0f}",
            f"{self.ratio:.3f}",
            f"{drained.first_event_s:.2f}",
            f"{drained.start_cpu_s:.2f}",
            *(f"{spent_us:.1f}" for spent_us in drained.cpu_us.values()),
            f"{drained.peak_rss_mb:.0f}",
        )


@click.command()
@click.option("--events", default=60_000, show_default=True, help="Events in the backlog.")
@click.option(
    "--collections", default=1, show_default=True, help="Collections they are spread over."
)
@click.option("--text-bytes", default=120, show_default=True, help="Text in each document.")
@click.option("--rounds", default=3, show_default=True, help="Rounds; the median is what counts.")
@click.option("--compare", is_flag=True, help="Drain the plain way, too.")
@click.option("--matrix", is_flag=True, help="All sizes and numbers of collections, a round each.")
@plot_option
def main(
    *,
    events: int,
    collections: int,
    text_bytes: int,
    rounds: int,
    compare: bool,
    matrix: bool,
    plot: Path | None,
) -> None:
    """Print how fast a backlog drains, as a share of reading it raw."""
    if matrix:
        _matrix(plot)
    else:
        _rounds(events, collections, text_bytes=text_bytes, rounds=rounds, compare=compare, to=plot)


def _rounds(
    events: int, collections: int, *, text_bytes: int, rounds: int, compare: bool, to: Path | None
) -> None:
    measured: list[Round] = []
    plain: list[Round] = []
    for number in range(1, rounds + 1):
        click.echo(f"round {number} of {rounds} ...", err=True)
        measured.append(_measure(events, collections, text_bytes=text_bytes))
        if compare:
            few = max(events // _NAIVE_SHARE, 1)
            slow = _measure(few, collections, text_bytes=text_bytes, naive=True)
            plain.append(replace(slow, raw_per_s=measured[-1].raw_per_s))
    rows = [(str(number), *each.cells()) for number, each in enumerate(measured, 1)]
    rows += [(f"{number}, plain", *each.cells()) for number, each in enumerate(plain, 1)]
    middle = median_round(measured)
    rows.append(("median", *middle.cells()))
    title = f"Drain of {events:,} events in {collections} collection(s)"
    print_table(title, ("round", *_COLUMNS), rows)
    click.echo(f"drain/raw, median of {rounds}: {middle.ratio:.3f}")
    rates = {"raw": middle.raw_per_s, "mnc": middle.drained.per_s}
    if plain:
        plainly = median_round(plain)
        rates["the plain way"] = plainly.drained.per_s
        click.echo(f"the plain way, median of {rounds}: {plainly.ratio:.4f}")
        click.echo(f"mnc is {middle.drained.per_s / plainly.drained.per_s:.1f} times as fast")
    if to:
        save_bars(
            to,
            title=title,
            y_label="events a second",
            groups=list(rates),
            bars={"rate": list(rates.values())},
        )


def _matrix(to: Path | None) -> None:
    rows: list[Sequence[str]] = []
    ratios: dict[str, list[float]] = {}
    for collections in _COLLECTIONS:
        for size, text_bytes in _SIZES.items():
            click.echo(f"{size}, {collections} collection(s) ...", err=True)
            events = min(_MATRIX_EVENTS, _MATRIX_BYTES // text_bytes)
            measured = _measure(events, collections, text_bytes=text_bytes)
            rows.append((f"{size} x {events:,} in {collections}", *measured.cells()))
            ratios.setdefault(f"{collections} collection(s)", []).append(measured.ratio)
    print_table("Drain of a backlog", ("documents in collections", *_COLUMNS), rows)
    if to:
        save_bars(
            to,
            title="Drain of a backlog",
            y_label="share of the raw read rate",
            groups=list(_SIZES),
            bars=ratios,
        )


def _measure(events: int, collections: int, *, text_bytes: int, naive: bool = False) -> Round:
    names = [f"c{index}" for index in range(collections)]
    with fresh_servers() as servers:
        command = _NAIVE if naive else MNC_SERVE
        settle(servers, names, command=command, positions=1 if naive else None)
        start = now(servers.database)
        insert(servers.database, names, events, text_bytes=text_bytes)
        raw_per_s = read_raw(servers.database, start, names, events)
        drained = drain(
            servers,
            lambda: [servers.start(names, command=command)],
            events=events,
        )
        return Round(raw_per_s=raw_per_s, drained=drained)


if __name__ == "__main__":
    main()
