"""Write the dashboard and the alerts: `python -m monitoring`."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import yaml

from monitoring.alerts import groups
from monitoring.dashboard import dashboard

__all__ = ["FOLDER", "files"]

FOLDER = Path(__file__).parents[1] / ".k8s" / "components" / "monitoring"

_MADE = "# Made by `python -m monitoring` from monitoring/alerts.py: change it there.\n"


def files() -> Mapping[str, str]:
    """Return the text of each file in FOLDER that is made."""
    rule = {
        "apiVersion": "monitoring.coreos.com/v1",
        "kind": "PrometheusRule",
        "metadata": {"name": "mnc"},
        "spec": {"groups": groups()},
    }
    return {
        "dashboard.json": json.dumps(dashboard(), indent=2) + "\n",
        "prometheusrule.yaml": _MADE + _yaml(rule),
        "rules.yaml": _MADE
        + "# For rule_files of a Prometheus without operator.\n"
        + _yaml({"groups": groups()}),
    }


def _yaml(content: object) -> str:
    return yaml.safe_dump(content, sort_keys=False, width=100)


if __name__ == "__main__":
    for name, text in files().items():
        (FOLDER / name).write_text(text)
