"""Changes that were forgotten before they were read are counted and logged."""

from __future__ import annotations

import pytest
from structlog.testing import capture_logs
from tests.fakes.tokens import high_water_mark

from mnc.model import ClusterTime, Namespace, Position
from mnc.telemetry.lane import LaneTelemetry
from mnc.telemetry.metrics import Metrics
from mnc.telemetry.renewal import DiscoveryTelemetry

_LOST = high_water_mark(ClusterTime(1_700_000_000, 1))
_FOUND = high_water_mark(ClusterTime(1_700_000_090, 1))


def _count(metrics: Metrics, collection: str) -> float | None:
    labels = {"database": "shop", "collection": collection}
    return metrics.registry.get_sample_value("mnc_positions_renewed_total", labels)


@pytest.mark.parametrize("by", ["lane", "discovery"])
def test_a_collection_that_lacks_changes_is_named(by: str) -> None:
    """Whoever finds it, the same line says since when, and the same metric counts it."""
    metrics = Metrics()
    with capture_logs() as lines:
        if by == "lane":
            lane = LaneTelemetry(Namespace(database="shop", collection="users"), metrics)
            lane.renewed(lost=Position(token=_LOST), found=Position(token=_FOUND))
        else:
            DiscoveryTelemetry("shop", metrics).found_late("users", lost=_LOST, found=_FOUND)
    (line,) = lines
    assert line["event"] == "position.renewed"
    assert line["collection"] == "shop.users"
    assert line["since"] == "2023-11-14T22:13:20+00:00"
    assert line["skipped_s"] == 90
    assert _count(metrics, "users") == 1


def test_what_discovery_may_have_missed_is_told() -> None:
    """Its own position counts under no name, from 0 on, and says for which time."""
    metrics = Metrics()
    discovery = DiscoveryTelemetry("shop", metrics)
    assert _count(metrics, "") == 0
    with capture_logs() as lines:
        discovery.renewed(lost=_LOST, found=_FOUND)
    (line,) = lines
    assert line["event"] == "discovery.renewed"
    assert line["database"] == "shop"
    assert line["skipped_s"] == 90
    assert _count(metrics, "") == 1
