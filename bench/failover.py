"""Time how long the collections of an instance that ends are without their next event.

    python -m bench.failover [--how kill|stop|freeze] [--whom leader|follower] [--rounds 50]
        [--plot FILE]

Three `mnc serve` share three collections on fresh embedded servers, while a writer inserts a
document each 5 ms. Each round ends one instance, waits until every collection that it had has an
event from its next owner, and starts it again. The time is that from the kill, or the signal, to
the moment at which JetStream stored the last of these events. What it is spent on is read from the
log lines of those who took over, for the collection that waited longest.
"""

from __future__ import annotations

import random
import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Final

import click
from pymongo.database import Database
from tests.cluster import SIZE, Cluster
from tests.connector import ConnectorProcess
from tests.deployment import Deployment
from tests.jetstream import ask_jetstream
from tests.waiting import wait_until

from bench.cluster import running_cluster, wait_balanced, writing
from bench.figures import percentile, print_table
from bench.plots import plot_option, save_lines

__all__: list[str] = []

_COLLECTIONS = ("users", "movies", "orders")
_WRITE_EACH_S = 0.005
_TAKEOVER_S = 30.0
_PHASES: Final = ("detected", "elected", "assigned", "acquired", "opened", "stored")


@dataclass(frozen=True, slots=True, kw_only=True)
class Takeover:
    """One collection's way to its next owner, in seconds from the end of the last one."""

    reached: Mapping[str, float]
    """When each phase was over; those that there was none of are missing."""

    @property
    def total_s(self) -> float:
        """How long the collection waited for its next event."""
        return self.reached["stored"]

    def phases(self) -> Mapping[str, float]:
        """Return how long each phase took."""
        spent, before_s = {}, 0.0
        for phase in _PHASES:
            at_s = max(self.reached.get(phase, before_s), before_s)
            spent[phase], before_s = at_s - before_s, at_s
        return spent


@click.command()
@click.option("--how", type=click.Choice(["kill", "stop", "freeze"]), default="kill")
@click.option("--whom", type=click.Choice(["leader", "follower"]), multiple=True)
@click.option("--rounds", default=50, show_default=True, help="Rounds for each of --whom.")
@click.option("--seed", default=1, show_default=True)
@plot_option
def main(*, how: str, whom: Sequence[str], rounds: int, seed: int, plot: Path | None) -> None:
    """Print how long a takeover takes, and on what the time is spent."""
    whom = whom or ("leader", "follower")
    rng = random.Random(seed)  # noqa: S311 - when to end whom, no secret
    measured: dict[str, list[Takeover]] = {each: [] for each in whom}
    with (
        running_cluster(_COLLECTIONS) as cluster,
        writing(cluster.deployment, _insert, pause_s=_WRITE_EACH_S),
    ):
        for number in range(rounds):
            for each in whom:
                measured[each].append(_round(cluster, how, each, rng))
                click.echo(
                    f"{number + 1}/{rounds} {how} {each}: {measured[each][-1].total_s:.3f} s",
                    err=True,
                )
    print_table(
        f"{how}: milliseconds to the next event, and the medians of its phases",
        ("", "rounds", "median", "p90", "worst", *_PHASES),
        _rows(measured),
    )
    if plot:
        save_lines(
            plot,
            title=f"{how}: to the next event of an instance's collections",
            x_label="percentile",
            y_label="seconds",
            lines={each: _distribution(takeovers) for each, takeovers in measured.items()},
        )


def _distribution(takeovers: Sequence[Takeover]) -> Sequence[tuple[float, float]]:
    totals = sorted(takeover.total_s for takeover in takeovers)
    return [(percent, percentile(totals, percent / 100)) for percent in range(101)]


def _rows(measured: Mapping[str, Sequence[Takeover]]) -> Iterator[Sequence[str]]:
    for whom, takeovers in measured.items():
        totals = sorted(takeover.total_s for takeover in takeovers)
        phases = [takeover.phases() for takeover in takeovers]
        figures = (
            statistics.median(totals),
            percentile(totals, 0.9),
            totals[-1],
            *(statistics.median(each[phase] for each in phases) for phase in _PHASES),
        )
        yield whom, str(len(totals)), *(f"{figure * 1000:.0f}" for figure in figures)


# --- one round -----------------------------------------------------------------------------------


def _round(cluster: Cluster, how: str, whom: str, rng: random.Random) -> Takeover:
    """End an instance, and return what the collection went through that waited longest."""
    leader = cluster.leader()
    followers = [number for number in range(SIZE) if number != leader]
    number = leader if whom == "leader" else rng.choice(followers)
    owned = [name for name, owner in cluster.owners().items() if owner == number]
    others = [cluster.instances[other] for other in range(SIZE) if other != number]
    cluster.instances[number].run_for(rng.uniform(0.5, 1.0))
    ended_at = time.time()
    bring_back = _end(cluster, number, how)
    takeovers = [_takeover(cluster.deployment, name, others, ended_at) for name in owned]
    bring_back()
    wait_balanced(cluster)
    return max(takeovers, key=lambda takeover: takeover.total_s)


def _end(cluster: Cluster, number: int, how: str) -> Callable[[], object]:
    """End an instance, and return what brings it back."""
    instance = cluster.instances[number]
    if how == "freeze":
        instance.pause()
        return instance.resume
    if how == "kill":
        cluster.kill(number)
    else:
        cluster.stop(number)
    return lambda: cluster.start(number)


def _takeover(
    deployment: Deployment, name: str, others: Sequence[ConnectorProcess], ended_at: float
) -> Takeover:
    """Wait until one of `others` has stored an event of a collection, and return its way there."""
    full_name = f"{deployment.database}.{name}"

    def first(instances: Sequence[ConnectorProcess], event: str, **fields: object) -> Any:
        lines = [
            line
            for instance in instances
            for line in instance.log(event)
            if _time_of(line["timestamp"]) > ended_at
            and all(line.get(key) == value for key, value in fields.items())
        ]
        return min(lines, key=lambda line: _time_of(line["timestamp"]), default=None)

    def acquired_by(instance: ConnectorProcess) -> Any:
        return first([instance], "lane.acquired", collection=full_name)

    owner = wait_until(
        lambda: [other for other in others if acquired_by(other)],
        timeout_s=_TAKEOVER_S,
        what="a new owner",
    )[0]
    acquired = acquired_by(owner)
    event = wait_until(
        lambda: _event_after(deployment, name, acquired["stream_seq"]),
        timeout_s=_TAKEOVER_S,
        what="the next event",
    )
    signs = [
        first(others, "cluster.member_gone"),
        first(others, "cluster.leader_lost"),
    ]
    lines = {
        "detected": min(filter(None, signs), key=lambda line: line["timestamp"], default=None),
        "elected": first(others, "cluster.leader_elected"),
        "assigned": first([owner], "cluster.assigned"),
        "acquired": acquired,
        "opened": first([owner], "capture.opened", collection=full_name),
    }
    reached = {
        phase: _time_of(line["timestamp"]) - ended_at for phase, line in lines.items() if line
    }
    return Takeover(reached={**reached, "stored": _time_of(event["time"]) - ended_at})


def _event_after(deployment: Deployment, name: str, stream_seq: int) -> Any:
    """Return the first event of a collection behind a place in the stream, or None."""
    answer = ask_jetstream(
        deployment.nats_url,
        f"STREAM.MSG.GET.{deployment.stream}",
        {"seq": stream_seq + 1, "next_by_subj": f"{deployment.stream}.{name}.>"},
    )
    return answer.get("message")


def _time_of(stamp: str) -> float:
    """Read a time in ISO 8601, also with the nanoseconds of JetStream."""
    return datetime.fromisoformat(stamp).timestamp()


def _insert(database: Database[dict[str, Any]], number: int) -> None:
    """Insert a document into one collection after the other."""
    name = _COLLECTIONS[number % len(_COLLECTIONS)]
    database[name].insert_one({"number": number, "text": "x" * 100})


if __name__ == "__main__":
    main()
