"""Traces by OpenTelemetry, from the extra `mnc[otel]`; see `mnc.telemetry.tracing`.

The SDK reads its own variables (endpoint, headers, sampler, resource, limits) and exports in a
thread of its own. No exception is recorded: its traceback ends in a client library, whose message
may quote a document.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

import structlog
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.propagate import inject
from opentelemetry.sdk.resources import OTELResourceDetector, Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.trace import SpanKind, StatusCode, Tracer

from mnc import __version__
from mnc.errors import MncError
from mnc.model import EncodedEvent, Namespace

__all__ = ["OpenTelemetryTracing", "ReportingExporter"]

_REPEATING = ("opentelemetry.exporter", "opentelemetry.sdk._shared_internal")
"""Loggers that say the same of a collector that is away, every few seconds."""


class OpenTelemetryTracing:
    """Traces the process; see `Tracing`."""

    def __init__(self, provider: TracerProvider) -> None:
        self._provider = provider
        self._tracer = provider.get_tracer("mnc", __version__)

    @classmethod
    def from_environment(cls) -> OpenTelemetryTracing:
        """Export to where the standard variables say, in a thread of the SDK's."""
        for name in _REPEATING:
            logging.getLogger(name).setLevel(logging.CRITICAL)
        named = {"service.name": "mnc", "service.version": __version__}
        resource = Resource.create({**named, **OTELResourceDetector().detect().attributes})
        # Not at the interpreter's exit, which would wait for a collector that is away.
        provider = TracerProvider(resource=resource, shutdown_on_exit=False)
        provider.add_span_processor(BatchSpanProcessor(ReportingExporter(OTLPSpanExporter())))
        return cls(provider)

    @property
    def resource(self) -> Resource:
        """What spans say of the process."""
        return self._provider.resource

    def lane(self, namespace: Namespace, /) -> _LaneTracer:
        """See `Tracing.lane`."""
        return _LaneTracer(self._tracer, namespace)

    def close(self) -> None:
        """See `Tracing.close`."""
        self._provider.shutdown()


class ReportingExporter(SpanExporter):
    """Export by another exporter, and log when that begins to fail and when it works again."""

    def __init__(self, exporter: SpanExporter) -> None:
        self._exporter = exporter
        self._is_failing = False
        self._log = structlog.get_logger()

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Export `spans`; those that the collector doesn't take are lost."""
        result = self._exporter.export(spans)
        is_failing = result is not SpanExportResult.SUCCESS
        if is_failing and not self._is_failing:
            self._log.warning("tracing.export_failing")
        if self._is_failing and not is_failing:
            self._log.info("tracing.export_recovered")
        self._is_failing = is_failing
        return result

    def shutdown(self) -> None:
        """End the other exporter."""
        self._exporter.shutdown()


class _LaneTracer:
    """Traces one collection's way; see `LaneTracer`."""

    def __init__(self, tracer: Tracer, namespace: Namespace) -> None:
        self._tracer = tracer
        self._source = {
            "db.system.name": "mongodb",
            "db.namespace": namespace.database,
            "db.collection.name": namespace.collection,
        }

    @contextmanager
    def batch(self, events: Sequence[EncodedEvent], /) -> Iterator[None]:
        with self._span("mnc.batch", SpanKind.INTERNAL, _size(events)):
            yield

    @contextmanager
    def publish(self, events: Sequence[EncodedEvent], /) -> Iterator[Mapping[str, str]]:
        attributes = {"messaging.system": "nats", "messaging.operation.type": "send"}
        with self._span("mnc.publish", SpanKind.PRODUCER, {**attributes, **_size(events)}):
            headers: dict[str, str] = {}
            inject(headers)
            yield headers

    @contextmanager
    def checkpoint(self) -> Iterator[None]:
        with self._span("mnc.checkpoint", SpanKind.CLIENT, {}):
            yield

    @contextmanager
    def _span(
        self, name: str, kind: SpanKind, attributes: Mapping[str, str | int]
    ) -> Iterator[None]:
        with self._tracer.start_as_current_span(
            name,
            kind=kind,
            attributes={**self._source, **attributes},
            record_exception=False,
            set_status_on_exception=False,
        ) as span:
            try:
                yield
            except MncError as error:
                span.set_attribute("error.type", error.kind)
                span.set_status(StatusCode.ERROR, error.message)
                raise


def _size(events: Sequence[EncodedEvent]) -> Mapping[str, str | int]:
    return {
        "messaging.batch.message_count": len(events),
        "messaging.message.body.size": sum(len(event.payload) for event in events),
    }
