"""What an instance costs at rest, with many quiet collections: alone, and as one of three.

    python -m bench.rest [--collections 100] [--seconds 60]

Nobody writes and nobody asks. CPU is a share of one core; wake-ups are how often a second the
process's threads waited for something. The servers are measured without a connector first: what
they take more with one is its cost, too.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import click
from tests.connector import ConnectorProcess

from bench.figures import print_table
from bench.instances import leads, start_instances, wait_capturing
from bench.plots import plot_option, save_bars
from bench.processes import CpuMeter, rss_mb, threads, wakeups
from bench.servers import Servers, fresh_servers

__all__: list[str] = []

_INSTANCES = (0, 1, 3)

_SETTLE_S = 10.0
"""After the start, before what it costs to rest is measured."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Rested:
    """What a process took."""

    cpu_share: float
    """Of one core."""
    wakeups_per_s: float
    threads: int
    rss_mb: float

    def cells(self) -> Sequence[str]:
        """Return the figures as they are printed."""
        return (
            f"{100 * self.cpu_share:.2f}",
            f"{self.wakeups_per_s:.0f}",
            f"{self.threads}",
            f"{self.rss_mb:.0f}",
        )


@click.command()
@click.option("--collections", default=100, show_default=True, help="Quiet collections.")
@click.option("--seconds", default=60.0, show_default=True, help="How long each is measured.")
@plot_option
def main(*, collections: int, seconds: float, plot: Path | None) -> None:
    """Print what instances take while nothing happens."""
    names = [f"c{index}" for index in range(collections)]
    rows: list[Sequence[str]] = []
    shares: dict[str, float] = {}
    with fresh_servers() as servers:
        for name in names:
            servers.database.create_collection(name)
        for count in _INSTANCES:
            click.echo(f"{count} instance(s) ...", err=True)
            instances = start_instances(servers, names, count) if count else ()
            wait_capturing(instances, names if count else ())
            rested = _measure(servers, _named(instances), seconds)
            rows += [(f"{count}: {name}", *each.cells()) for name, each in rested.items()]
            shares |= {f"{count}: {name}": each.cpu_share * 100 for name, each in rested.items()}
            for instance in instances:
                instance.terminate()
    columns = ("CPU, % of a core", "wake-ups /s", "threads", "RSS MB")
    print_table(
        f"At rest, {collections} collections, {seconds:g} s",
        ("instances: process", *columns),
        rows,
    )
    if plot:
        save_bars(
            plot,
            title=f"At rest, {collections} collections",
            y_label="% of a core",
            groups=list(shares),
            bars={"": list(shares.values())},
        )


def _named(instances: Sequence[ConnectorProcess]) -> Mapping[str, int]:
    """Return the instances' processes, with a name for each."""
    if len(instances) == 1:
        return {"alone": instances[0].pid}
    leader_first = sorted(instances, key=leads, reverse=True)
    return {
        f"follower-{number}" if number else "leader": instance.pid
        for number, instance in enumerate(leader_first)
    }


def _measure(
    servers: Servers, instances: Mapping[str, int], seconds: float
) -> Mapping[str, _Rested]:
    time.sleep(_SETTLE_S)
    pids = {**instances, "mongod": servers.mongod.pid, "nats-server": servers.nats_server.pid}
    meter = CpuMeter({name: [pid] for name, pid in pids.items()})
    waited = {name: wakeups(pid) for name, pid in pids.items()}
    time.sleep(seconds)
    return {
        name: _Rested(
            cpu_share=spent_s / seconds,
            wakeups_per_s=(wakeups(pids[name]) - waited[name]) / seconds,
            threads=threads(pids[name]),
            rss_mb=rss_mb(pids[name]),
        )
        for name, spent_s in meter.spent_s().items()
    }


if __name__ == "__main__":
    main()
