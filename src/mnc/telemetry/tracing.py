"""Traces: what is told of a batch's way, and to whom.

Theory of operation. Each batch that a lane takes is a span; each attempt to publish it is one below
that, and each write of a token document one of its own. An attempt's context goes along in the
headers of its messages, so that a consumer can continue the trace. OpenTelemetry's standard
variables switch it on; without them, or without the extra `mnc[otel]`, nothing of OpenTelemetry is
imported, and a span costs a call that does nothing.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Protocol

import structlog

from mnc.model import EncodedEvent, Namespace

__all__ = ["UNTRACED", "LaneTracer", "NoTracing", "Tracing", "open_tracing"]

_PROTOCOL = "http/protobuf"


class LaneTracer(Protocol):
    """Traces one collection's way. An error that ends a block is noted; none is raised."""

    def batch(self, events: Sequence[EncodedEvent], /) -> AbstractContextManager[None]:
        """Trace the way of `events` into the stream."""
        ...

    def publish(
        self, events: Sequence[EncodedEvent], /
    ) -> AbstractContextManager[Mapping[str, str]]:
        """Trace an attempt to store `events`; give the headers for their messages."""
        ...

    def checkpoint(self) -> AbstractContextManager[None]:
        """Trace a write of the token document."""
        ...


class Tracing(Protocol):
    """Traces the process."""

    def lane(self, namespace: Namespace, /) -> LaneTracer:
        """Return what traces a collection's lane."""
        ...

    def close(self) -> None:
        """Send what is left. Blocks for as long as the collector doesn't answer."""
        ...


class _Untraced:
    """Traces nothing."""

    def batch(self, _: Sequence[EncodedEvent], /) -> AbstractContextManager[None]:
        return _NOTHING

    def publish(self, _: Sequence[EncodedEvent], /) -> AbstractContextManager[Mapping[str, str]]:
        return _NO_HEADERS

    def checkpoint(self) -> AbstractContextManager[None]:
        return _NOTHING


_NOTHING = nullcontext()
_NO_HEADERS = nullcontext[Mapping[str, str]]({})

UNTRACED: LaneTracer = _Untraced()


class NoTracing:
    """Traces nothing; see `Tracing`."""

    def lane(self, _: Namespace, /) -> LaneTracer:
        """See `Tracing.lane`."""
        return UNTRACED

    def close(self) -> None:
        """See `Tracing.close`: there is nothing to send."""


def open_tracing(environ: Mapping[str, str]) -> Tracing:
    """Return what the standard variables (`OTEL_*`) ask for.

    Tracing that can't be had is a warning, and no error: the variables may be meant for others, and
    events are worth more than traces.
    """
    if not _is_asked_for(environ):
        return NoTracing()
    if problem := _unsupported(environ):
        structlog.get_logger().warning("tracing.unavailable", reason=problem)
        return NoTracing()
    try:
        otel = importlib.import_module("mnc.telemetry.otel")
    except ModuleNotFoundError:
        structlog.get_logger().warning(
            "tracing.unavailable",
            reason="OTEL_ variables ask for traces, and OpenTelemetry isn't installed",
            remedy="install mnc[otel], or set OTEL_SDK_DISABLED=true",
        )
        return NoTracing()
    tracing: Tracing = otel.OpenTelemetryTracing.from_environment()
    return tracing


def _is_asked_for(environ: Mapping[str, str]) -> bool:
    exporters = environ.get("OTEL_TRACES_EXPORTER", "")
    if environ.get("OTEL_SDK_DISABLED", "").lower() == "true" or exporters == "none":
        return False
    return bool(
        exporters
        or environ.get("OTEL_EXPORTER_OTLP_ENDPOINT")
        or environ.get("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
    )


def _unsupported(environ: Mapping[str, str]) -> str | None:
    """Say what is asked for that isn't there, or return None."""
    exporters = environ.get("OTEL_TRACES_EXPORTER") or "otlp"
    if exporters != "otlp":
        return f"OTEL_TRACES_EXPORTER: found {exporters!r}; allowed: otlp or none"
    for name in ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL"):
        protocol = environ.get(name)
        if protocol:
            return None if protocol == _PROTOCOL else f"{name}: {protocol!r} is not {_PROTOCOL}"
    return None
