"""The alerts are about metrics that exist, and each has its runbook."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import promql_parser
import pytest
import yaml
from monitoring.__main__ import FOLDER
from monitoring.alerts import ALERTS, RUNBOOKS, Alert, groups
from tests.unit.monitoring.cases import CASES, Case

from mnc.telemetry.cluster import ClusterTelemetry
from mnc.telemetry.metrics import Metrics

_ROOT = Path(__file__).parents[3]
_PAGE = (_ROOT / RUNBOOKS).read_text()

_OF_OTHERS = {"kube_pod_status_ready", "up"}
"""Metrics that alerts use and that kube-state-metrics and Prometheus have."""

_each = pytest.mark.parametrize("alert", ALERTS, ids=lambda alert: alert.name)


@_each
def test_an_alert_is_promql(alert: Alert) -> None:
    """Prometheus loads no rule of a file in which one is misspelt."""
    promql_parser.parse(alert.expr)


@_each
def test_an_alert_is_about_metrics_that_exist(alert: Alert) -> None:
    """No alert keeps silent because a metric, or the bound of a bucket, is another."""
    metrics = Metrics()
    ClusterTelemetry(metrics.registry)
    exposed = metrics.exposition().decode()
    names = set(re.findall(r"^# TYPE (\w+) ", exposed, re.MULTILINE)) | _OF_OTHERS
    used = re.findall(r"\b(?:mnc|kube|up)(?:_\w+)?\b(?!\"|-)", alert.expr)
    assert used
    assert {re.sub(r"_(bucket|count)$", "", name) for name in used} <= names
    for bound in re.findall(r"(le=\"[^\"]+\")", alert.expr):
        assert bound in exposed


@_each
def test_an_alert_says_what_to_do(alert: Alert) -> None:
    """Its runbook is a section of docs/operations.md, in the words of the alert's own name."""
    assert alert.summary
    assert alert.description.endswith(".")
    section = _section(alert.name)
    assert f"*{alert.severity.capitalize()}" in section
    for part in ("**Means.**", "**Confirm.**", "**Do.**"):
        assert part in section


def test_runbooks_and_alerts_are_the_same() -> None:
    """No name stands for two alerts, and no runbook is about one that is gone."""
    names = [alert.name for alert in ALERTS]
    assert re.findall(r"^### (Mnc\w+)$", _PAGE, re.MULTILINE) == names
    assert len(set(names)) == len(names)
    (group,) = groups()
    for rule in yaml.safe_load(yaml.safe_dump(group["rules"])):
        assert rule["annotations"]["runbook_url"] == f"docs/operations.md#{rule['alert'].lower()}"


def test_every_alert_has_a_case() -> None:
    """Each alert is shown to fire, and to keep silent, for what it is about."""
    for alert in ALERTS:
        assert {case.fires for case in CASES if case.alert == alert.name} == {True, False}


def test_alerts_fire_when_they_should(tmp_path: Path) -> None:
    """Prometheus itself fires the alerts for series that they are about, and for no others."""
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("promtool is not on PATH")
    (tmp_path / "rules.yaml").write_text((FOLDER / "rules.yaml").read_text())
    tests = {"rule_files": ["rules.yaml"], "tests": [_promtool_test(case) for case in CASES]}
    (tmp_path / "tests.yaml").write_text(yaml.safe_dump(tests))
    done = subprocess.run(
        [promtool, "test", "rules", "tests.yaml"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def _section(name: str) -> str:
    _, _, after = _PAGE.partition(f"\n### {name}\n")
    return re.split(r"^#{2,3} ", after, maxsplit=1, flags=re.MULTILINE)[0]


def _promtool_test(case: Case) -> dict[str, object]:
    firing = f'count(ALERTS{{alertname="{case.alert}", alertstate="firing"}})'
    return {
        "name": f"{case.alert}: {case.about}",
        "interval": "15s",
        "input_series": [
            {"series": series, "values": values} for series, values in case.series.items()
        ],
        "promql_expr_test": [
            {
                "expr": firing,
                "eval_time": case.at,
                "exp_samples": [{"labels": "{}", "value": 1}] if case.fires else [],
            }
        ],
    }
