"""The dashboard as Grafana imports it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from monitoring.panels import LEFT_OUT, ROWS, Panel
from monitoring.queries import Family, Level, Query, expression, families

__all__ = ["dashboard"]

_WIDTH, _HEIGHT, _PANELS_IN_A_ROW = 6, 7, 4
"""Grafana's grid has 24 columns."""

_SOURCE = {"type": "prometheus", "uid": "${datasource}"}


def dashboard() -> Mapping[str, object]:
    """Return it. Raises ValueError when a metric is neither shown nor left out with a reason."""
    known = families()
    panels = [query.metric for row in ROWS.values() for panel in row for query in panel.queries]
    if odd := known.keys() ^ {*panels, *LEFT_OUT}:
        raise ValueError(f"neither shown nor left out, or no metric at all: {sorted(odd)}")
    return {
        "uid": "mnc",
        "title": "mnc",
        "description": "MongoDB to NATS JetStream: made by `python -m monitoring`.",
        "tags": ["mnc", "mongodb", "nats"],
        "schemaVersion": 39,
        "editable": True,
        "refresh": "30s",
        "time": {"from": "now-3h", "to": "now"},
        "templating": {"list": list(_variables())},
        "panels": list(_panels(known)),
    }


def _variables() -> Iterator[Mapping[str, object]]:
    yield {"name": "datasource", "label": "Prometheus", "type": "datasource", "query": "prometheus"}
    for name, metric in (
        ("job", "mnc_build_info"),
        ("namespace", 'mnc_build_info{job=~"$job"}'),
        ("collection", 'mnc_lane_capturing{job=~"$job",namespace=~"$namespace"}'),
    ):
        yield {
            "name": name,
            "label": name.capitalize(),
            "type": "query",
            "datasource": _SOURCE,
            "query": {"query": f"label_values({metric}, {name})", "refId": name},
            "refresh": 2,  # with each change of the time range
            "sort": 1,
            "multi": True,
            "includeAll": True,
            "allValue": ".*",  # also where there is no such label
            "current": {"text": "All", "value": "$__all"},
        }


def _panels(known: Mapping[str, Family]) -> Iterator[Mapping[str, object]]:
    y, number = 0, 0
    for title, row in ROWS.items():
        number += 1
        place = {"x": 0, "y": y, "w": 24, "h": 1}
        yield {"id": number, "type": "row", "title": title, "gridPos": place, "panels": []}
        y += 1
        for index, panel in enumerate(row):
            number += 1
            line, column = divmod(index, _PANELS_IN_A_ROW)
            place = {"x": column * _WIDTH, "y": y + line * _HEIGHT, "w": _WIDTH, "h": _HEIGHT}
            yield {"id": number, "gridPos": place, **_panel(panel, known)}
        y += -(-len(row) // _PANELS_IN_A_ROW) * _HEIGHT


def _panel(panel: Panel, known: Mapping[str, Family]) -> Mapping[str, object]:
    metrics = [query.metric for query in panel.queries]
    return {
        "type": "timeseries",
        "title": panel.title,
        "description": "\n\n".join(f"{known[metric].says} `{metric}`" for metric in metrics),
        "datasource": _SOURCE,
        "fieldConfig": {"defaults": {"unit": panel.unit, "min": 0}, "overrides": []},
        "options": {"tooltip": {"mode": "multi", "sort": "desc"}},
        "targets": [
            {
                "refId": chr(ord("A") + index),
                "datasource": _SOURCE,
                "expr": expression(query, known[query.metric]),
                "legendFormat": _legend(query) or panel.title,
            }
            for index, query in enumerate(panel.queries)
        ],
    }


def _legend(query: Query) -> str:
    named = query.named if isinstance(query, Level) else ""
    return " ".join([named, *(f"{{{{{label}}}}}" for label in query.by)]).strip()
