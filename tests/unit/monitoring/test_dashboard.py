"""The dashboard shows the metrics that the code has."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

import promql_parser
import pytest
from monitoring.__main__ import FOLDER, files
from monitoring.dashboard import dashboard
from monitoring.panels import LEFT_OUT, ROWS
from monitoring.queries import (
    INSTANCE,
    Family,
    Level,
    Quantile,
    Query,
    Rate,
    expression,
    families,
)
from prometheus_client.metrics import MetricWrapperBase

from mnc.telemetry.cluster import ClusterTelemetry
from mnc.telemetry.metrics import Metrics

_VARIABLES = {"$__rate_interval": "5m", "$job": ".*", "$namespace": ".*", "$collection": ".*"}


@pytest.mark.parametrize("name", files())
def test_files_are_what_the_code_makes(name: str) -> None:
    """Dashboard and alerts are in step with the code; if not, run `python -m monitoring`."""
    assert (FOLDER / name).read_text() == files()[name]


def test_every_metric_is_shown_or_left_out_with_a_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    """A metric that nobody has decided on ends the making of the dashboard."""
    shown = {query.metric for row in ROWS.values() for panel in row for query in panel.queries}
    assert shown | set(LEFT_OUT) == set(families())
    assert not shown & set(LEFT_OUT)
    assert all(LEFT_OUT.values())
    known = {**families(), "mnc_new": Family(kind="gauge", says="New.")}
    monkeypatch.setattr("monitoring.dashboard.families", lambda: known)
    with pytest.raises(ValueError, match="mnc_new"):
        dashboard()


def test_queries_are_promql() -> None:
    """Prometheus understands each, once Grafana has filled in its variables."""
    targets = [target for panel in _panels() for target in panel["targets"]]
    assert targets
    for target in targets:
        asked = target["expr"]
        for name, value in _VARIABLES.items():
            asked = asked.replace(name, value)
        assert "$" not in asked
        promql_parser.parse(asked)


def test_variables_of_queries_are_on_the_dashboard() -> None:
    """What queries and sources refer to is a variable that the dashboard has, or Grafana's."""
    text = json.dumps(dashboard())
    names = {variable["name"] for variable in json.loads(text)["templating"]["list"]}
    used = set(re.findall(r"\$\{?(\w+)", text))
    assert used == names | {"__rate_interval", "__all"}


def test_queries_group_by_labels_that_metrics_have() -> None:
    """No graph is one line because a label has another name."""
    metrics = Metrics()
    ClusterTelemetry(metrics.registry)
    labels = {
        collector._name: {*collector._labelnames}
        for collector in metrics.registry._collector_to_names
        if isinstance(collector, MetricWrapperBase)
    } | {"mnc_build": {"version"}}
    for row in ROWS.values():
        for panel in row:
            for query in panel.queries:
                known = labels.get(query.metric, set())
                assert {*query.by} - {*INSTANCE} <= known, query


def test_a_metric_is_asked_as_its_kind_can_be() -> None:
    """A rate of a gauge, or a quantile of a counter, would be a graph of nonsense."""
    wrong: list[tuple[Query, str]] = [
        (Rate(metric="a"), "gauge"),
        (Level(metric="a"), "counter"),
        (Quantile(metric="a"), "gauge"),
    ]
    for query, kind in wrong:
        with pytest.raises(ValueError, match="a is a"):
            expression(query, Family(kind=kind, says=""))


def test_panels_lie_side_by_side() -> None:
    """No two panels overlap, none is wider than the grid, and each has a number of its own."""
    taken: set[tuple[int, int]] = set()
    numbers: set[int] = set()
    for panel in json.loads(json.dumps(dashboard()))["panels"]:
        place = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not cells & taken
        assert max(x for x, _ in cells) < 24
        taken |= cells
        assert panel["id"] not in numbers
        numbers.add(panel["id"])


def _panels() -> Iterator[Mapping[str, Any]]:
    for panel in json.loads(json.dumps(dashboard()))["panels"]:
        if panel["type"] != "row":
            yield panel
