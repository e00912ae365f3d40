"""A traced batch is published like any other."""

from __future__ import annotations

import random

import trio
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from tests.fakes.faults import Script
from tests.fakes.observer import RecordingObserver
from tests.fakes.payloads import STOPPING
from tests.fakes.stream import LOST_ACK, NEVER_STORED, FakeStream, PublishFault
from tests.fakes.values import NAMESPACE, checkpoint, events
from tests.fakes.virtual_time import virtual_time

from mnc.model import Epoch
from mnc.publish.publisher import Publisher
from mnc.telemetry.otel import OpenTelemetryTracing


@virtual_time
async def test_attempts_are_spans_and_nothing_is_stored_twice() -> None:
    """What became of a batch is told by its tokens: headers that differ play no part in it."""
    spans = InMemorySpanExporter()
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(spans))
    tracer = OpenTelemetryTracing(provider).lane(NAMESPACE)
    stream = FakeStream()
    await stream.ensure()
    stream.publish_faults = Script[PublishFault](NEVER_STORED, LOST_ACK)
    publisher = Publisher(
        stream=stream,
        remedies=STOPPING,
        marker_subject="cs_position.users",
        reached=checkpoint(0, stream_seq=0),
        epoch=Epoch(0),
        in_flight=trio.CapacityLimiter(1),
        observer=RecordingObserver(),
        rng=random.Random(1),
        tracer=tracer,
    )
    with tracer.batch(events(1, 4)):
        await publisher.publish(events(1, 4))
    assert stream.events == events(1, 4)
    *attempts, batch = spans.get_finished_spans()
    assert {attempt.name for attempt in attempts} == {"mnc.publish"}
    assert [dict(attempt.attributes or {}).get("error.type") for attempt in attempts] == [
        "outcome_unknown",
        "outcome_unknown",
        None,
    ]
    assert batch.status.is_ok
