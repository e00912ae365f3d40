"""What a panel asks Prometheus, by the kind of its metric."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, assert_never

from mnc.telemetry.cluster import ClusterTelemetry
from mnc.telemetry.metrics import Metrics

__all__ = [
    "INSTANCE",
    "LANE",
    "Age",
    "Family",
    "Increase",
    "Level",
    "Quantile",
    "Query",
    "Rate",
    "expression",
    "families",
    "growth",
]

LANE = ("database", "collection")
INSTANCE = ("pod", "instance")
"""Prometheus's own labels; outside of Kubernetes the first is empty."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Family:
    """A metric as the code has it."""

    kind: str
    """`counter`, `gauge`, `histogram` or `info`."""
    says: str
    """Its help text."""


def families() -> Mapping[str, Family]:
    """Return every metric of an instance of a cluster by its name."""
    metrics = Metrics()
    ClusterTelemetry(metrics.registry)
    return {
        family.name: Family(kind=family.type, says=family.documentation)
        for family in metrics.registry.collect()
    }


@dataclass(frozen=True, slots=True, kw_only=True)
class Rate:
    """How much a counter grows in a second."""

    metric: str
    by: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Increase:
    """How often something rare has happened since the point before."""

    metric: str
    by: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Level:
    """What a gauge shows."""

    metric: str
    by: tuple[str, ...] = ()
    over: Literal["count", "max", "sum"] = "max"
    """How values that differ in other labels become one."""
    named: str = ""
    """What the legend says before the labels; for panels of several levels."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Age:
    """How long ago the time was that a gauge shows."""

    metric: str
    by: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Quantile:
    """What a histogram's observations seldom exceed."""

    metric: str
    by: tuple[str, ...] = ()
    of: float = 0.99


def growth(counter: str, window: str) -> str:
    """Return by how much each series of a counter has grown in a window, in PromQL.

    A counter comes to be with the first of what it counts, which is no increase to Prometheus: for
    a series that is younger than the window, all of it is.
    """
    return f"({counter} unless {counter} offset {window}) or increase({counter}[{window}])"


Query = Rate | Increase | Level | Age | Quantile

_KINDS: Mapping[type, Sequence[str]] = {
    Rate: ("counter",),
    Increase: ("counter",),
    Level: ("gauge", "info"),
    Age: ("gauge",),
    Quantile: ("histogram",),
}


def expression(query: Query, family: Family) -> str:
    """Return the query in PromQL, with the dashboard's variables.

    Raises ValueError for a metric of a kind that can't be asked so.
    """
    if family.kind not in _KINDS[type(query)]:
        raise ValueError(f"{query.metric} is a {family.kind}: no {type(query).__name__} of it")
    where = 'job=~"$job",namespace=~"$namespace"'
    if "collection" in query.by:
        where += ',collection=~"$collection"'
    metric, by = query.metric, f" by ({', '.join(query.by)})" if query.by else ""
    match query:
        case Rate():
            return f"sum{by} (rate({metric}_total{{{where}}}[$__rate_interval]))"
        case Increase():
            return f"sum{by} ({growth(f'{metric}_total{{{where}}}', '$__rate_interval')})"
        case Level(over=over):
            suffix = "_info" if family.kind == "info" else ""
            return f"{over}{by} ({metric}{suffix}{{{where}}})"
        case Age():
            return f"time() - max{by} ({metric}{{{where}}})"
        case Quantile(of=of):
            buckets = f"rate({metric}_bucket{{{where}}}[$__rate_interval])"
            return f"histogram_quantile({of}, sum by ({', '.join((*query.by, 'le'))}) ({buckets}))"
        case _:
            assert_never(query)
