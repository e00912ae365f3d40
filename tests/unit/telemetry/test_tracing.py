"""Whether traces are on: the standard variables say it, and nothing else pays for them."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping

import pytest
from structlog.testing import capture_logs
from tests.fakes.values import NAMESPACE, events

from mnc.errors import SinkError
from mnc.telemetry.otel import OpenTelemetryTracing
from mnc.telemetry.tracing import NoTracing, Tracing, open_tracing

_ENDPOINT = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1"}


def opened(environ: Mapping[str, str]) -> tuple[Tracing, list[str]]:
    """Open tracing; return it, and the reasons of warnings."""
    with capture_logs() as lines:
        tracing = open_tracing(environ)
    assert all(line["log_level"] == "warning" for line in lines)
    return tracing, [line["reason"] for line in lines]


@pytest.mark.parametrize(
    "environ",
    [
        _ENDPOINT,
        {"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://127.0.0.1:1/v1/traces"},
        {"OTEL_TRACES_EXPORTER": "otlp"},
        _ENDPOINT | {"OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf"},
        _ENDPOINT
        | {
            "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc",
            "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL": "http/protobuf",
        },
    ],
)
def test_standard_variables_switch_traces_on(environ: Mapping[str, str]) -> None:
    """An endpoint or an exporter is enough."""
    tracing, reasons = opened(environ)
    assert isinstance(tracing, OpenTelemetryTracing)
    assert reasons == []
    tracing.close()


@pytest.mark.parametrize(
    "environ",
    [
        {},
        {"OTEL_SERVICE_NAME": "mnc"},
        _ENDPOINT | {"OTEL_SDK_DISABLED": "True"},
        _ENDPOINT | {"OTEL_TRACES_EXPORTER": "none"},
    ],
)
def test_traces_are_off_unless_they_are_asked_for(environ: Mapping[str, str]) -> None:
    """Without an endpoint, and when they are switched off, there are none, and no warning."""
    tracing, reasons = opened(environ)
    assert isinstance(tracing, NoTracing)
    assert reasons == []


@pytest.mark.parametrize(
    ("environ", "word"),
    [
        ({"OTEL_TRACES_EXPORTER": "zipkin"}, "zipkin"),
        (_ENDPOINT | {"OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}, "grpc"),
    ],
)
def test_what_is_not_supported_is_a_warning(environ: Mapping[str, str], word: str) -> None:
    """Events go on without traces: the variables may have been set for all of a cluster."""
    tracing, (reason,) = opened(environ)
    assert isinstance(tracing, NoTracing)
    assert word in reason


def test_missing_extra_is_a_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    """Traces that are asked for without OpenTelemetry are named, and events go on."""
    monkeypatch.setitem(sys.modules, "mnc.telemetry.otel", None)
    tracing, (reason,) = opened(_ENDPOINT)
    assert isinstance(tracing, NoTracing)
    assert "isn't installed" in reason


def test_untraced_process_imports_nothing_of_opentelemetry() -> None:
    """Who doesn't trace neither needs the packages nor waits for their import."""
    script = (
        "import sys; from mnc.telemetry.tracing import open_tracing;"
        "open_tracing({}); sys.exit('opentelemetry' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0


def test_untraced_messages_are_as_before() -> None:
    """Without traces messages have no headers of theirs, and errors pass."""
    lane = NoTracing().lane(NAMESPACE)
    with lane.batch(events(1, 2)), lane.publish(events(1, 2)) as headers:
        assert headers == {}
    with pytest.raises(SinkError), lane.checkpoint():
        raise SinkError("no")
