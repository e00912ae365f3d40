"""Spans of batches, publishes and checkpoints, and the context in the messages."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pytest
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF
from opentelemetry.trace import SpanKind, StatusCode, TraceFlags
from structlog.testing import capture_logs
from tests.fakes.values import NAMESPACE, events

from mnc.errors import SinkRefusedError
from mnc.telemetry.otel import OpenTelemetryTracing, ReportingExporter
from mnc.telemetry.tracing import LaneTracer

_SECRET = "a document"  # noqa: S105 - what must not be in a span


@pytest.fixture
def spans() -> InMemorySpanExporter:
    """Keep the spans that have ended."""
    return InMemorySpanExporter()


@pytest.fixture
def lane(spans: InMemorySpanExporter) -> LaneTracer:
    """Trace a lane."""
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(spans))
    return OpenTelemetryTracing(provider).lane(NAMESPACE)


def by_name(spans: InMemorySpanExporter) -> dict[str, ReadableSpan]:
    """Return the spans by their names, of which each has to be there once."""
    found = {span.name: span for span in spans.get_finished_spans()}
    assert len(found) == len(spans.get_finished_spans())
    return found


def test_publish_belongs_to_its_batch(lane: LaneTracer, spans: InMemorySpanExporter) -> None:
    """A batch's span holds its attempts, and says how much it was and of which collection."""
    with lane.batch(events(1, 3)), lane.publish(events(1, 3)):
        pass
    found = by_name(spans)
    batch, publish = found["mnc.batch"], found["mnc.publish"]
    assert publish.parent is not None
    assert batch.context is not None
    assert (batch.parent, publish.parent.span_id) == (None, batch.context.span_id)
    assert publish.kind is SpanKind.PRODUCER
    for span in (batch, publish):
        assert span.attributes is not None
        assert span.attributes["db.namespace"] == "test"
        assert span.attributes["db.collection.name"] == "users"
        assert span.attributes["messaging.batch.message_count"] == 3
        assert span.attributes["messaging.message.body.size"] == 6
        assert span.status.status_code is StatusCode.UNSET


def test_checkpoint_is_a_trace_of_its_own(lane: LaneTracer, spans: InMemorySpanExporter) -> None:
    """A token document stands for many batches, so its write belongs to none."""
    with lane.checkpoint():
        pass
    assert by_name(spans)["mnc.checkpoint"].parent is None


def test_messages_carry_the_context_of_their_attempt(
    lane: LaneTracer, spans: InMemorySpanExporter
) -> None:
    """A consumer continues the trace where the message was published."""
    with lane.batch(events(1, 2)), lane.publish(events(1, 2)) as headers:
        pass
    context = by_name(spans)["mnc.publish"].context
    assert context is not None
    expected = f"00-{context.trace_id:032x}-{context.span_id:016x}-{context.trace_flags:02x}"
    assert headers == {"traceparent": expected}


def test_unsampled_attempt_says_so_to_consumers() -> None:
    """Who samples nothing exports nothing, and consumers follow that decision."""
    provider = TracerProvider(sampler=ALWAYS_OFF, shutdown_on_exit=False)
    with OpenTelemetryTracing(provider).lane(NAMESPACE).publish(events(1, 1)) as headers:
        assert not int(headers["traceparent"][-2:], 16) & TraceFlags.SAMPLED


def test_error_is_named_without_what_it_stems_from(
    lane: LaneTracer, spans: InMemorySpanExporter
) -> None:
    """Mnc's own errors name their kind; a client library's text, which may quote, isn't shown."""
    with pytest.raises(SinkRefusedError), lane.publish(events(1, 1)):
        raise SinkRefusedError("the stream refuses") from ValueError(_SECRET)
    with pytest.raises(ValueError, match=_SECRET), lane.checkpoint():
        raise ValueError(_SECRET)
    publish = by_name(spans)["mnc.publish"]
    assert publish.status.status_code is StatusCode.ERROR
    assert publish.attributes is not None
    assert publish.attributes["error.type"] == "sink_refused"
    assert all(_SECRET not in span.to_json() for span in spans.get_finished_spans())


class _Collector(SpanExporter):
    def __init__(self, *results: SpanExportResult) -> None:
        self._results = list(results)
        self.is_shut_down = False

    def export(self, _: Sequence[ReadableSpan]) -> SpanExportResult:
        return self._results.pop(0)

    def shutdown(self) -> None:
        self.is_shut_down = True


def test_collector_that_is_away_loses_traces_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Spans are given up when the time for them is over, with one line in the log."""
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:1")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "0.2")
    with capture_logs() as lines:
        tracing = OpenTelemetryTracing.from_environment()
        with tracing.lane(NAMESPACE).checkpoint():
            pass
        tracing.close()
    assert [line["event"] for line in lines] == ["tracing.export_failing"]


@pytest.mark.parametrize(
    ("environ", "service"),
    [
        ({}, "mnc"),
        ({"OTEL_SERVICE_NAME": "shop"}, "shop"),
        ({"OTEL_RESOURCE_ATTRIBUTES": "service.name=shop"}, "shop"),
    ],
)
def test_service_is_called_what_the_environment_says(
    monkeypatch: pytest.MonkeyPatch, environ: Mapping[str, str], service: str
) -> None:
    """Without a name of the operator's choice the service is mnc."""
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    tracing = OpenTelemetryTracing.from_environment()
    assert tracing.resource.attributes["service.name"] == service
    tracing.close()


def test_collector_that_is_away_is_logged_once() -> None:
    """A day without a collector is one line in the log, and its end another."""
    good, bad = SpanExportResult.SUCCESS, SpanExportResult.FAILURE
    collector = _Collector(good, bad, bad, bad, good, good)
    exporter = ReportingExporter(collector)
    with capture_logs() as lines:
        results = [exporter.export(()) for _ in range(6)]
    assert results == [good, bad, bad, bad, good, good]
    assert [line["event"] for line in lines] == [
        "tracing.export_failing",
        "tracing.export_recovered",
    ]
    exporter.shutdown()
    assert collector.is_shut_down
