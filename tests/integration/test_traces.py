"""Traces of `mnc serve`: a collector gets the spans, and messages carry their context."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span
from tests.deployment import Deploy


class _Collector:
    """An OpenTelemetry collector that keeps what it gets."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.services = set[str]()
        self.spans: list[Span] = []

    def receive(self, body: bytes) -> None:
        for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
            for attribute in resource.resource.attributes:
                if attribute.key == "service.name":
                    self.services.add(attribute.value.string_value)
            for scope in resource.scope_spans:
                self.spans.extend(scope.spans)


@contextmanager
def collecting() -> Iterator[_Collector]:
    """Serve a collector."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            assert self.path == "/v1/traces"
            collector.receive(self.rfile.read(int(self.headers["Content-Length"])))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        collector = _Collector(f"http://127.0.0.1:{server.server_port}")
        Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield collector
        finally:
            server.shutdown()


def test_messages_continue_the_spans_that_a_collector_gets(deploy: Deploy) -> None:
    """Each message names an attempt that the collector knows; the stream is as exact as ever."""
    with collecting() as collector:
        deployment = deploy()
        deployment.start_ready(OTEL_EXPORTER_OTLP_ENDPOINT=collector.url)
        for name in deployment.collections:
            deployment.db[name].insert_many({"n": n} for n in range(5))
        deployment.finish(10)  # and the spans are sent before the end
    assert collector.services == {"mnc"}
    assert {span.name for span in collector.spans} == {"mnc.batch", "mnc.publish", "mnc.checkpoint"}
    attempts = {
        (span.trace_id.hex(), span.span_id.hex())
        for span in collector.spans
        if span.name == "mnc.publish"
    }
    named = {tuple(m.headers["traceparent"].split("-")[1:3]) for m in deployment.oracle.messages()}
    assert named == attempts
