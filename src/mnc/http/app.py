"""The paths of the HTTP server: probes, metrics and status."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from http import HTTPStatus
from typing import cast

import orjson
import structlog
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from mnc.http.health import CHECK_DEADLINE_S, Health
from mnc.http.ports import Probes

__all__ = ["build_app"]

_METRICS_MEDIA_TYPE = "text/plain; version=0.0.4; charset=utf-8"
"""What `Probes.metrics` promises; CONTENT_TYPE_LATEST says 1.0.0 since prometheus-client 0.23."""

_INDEX = {
    "/health": "whether NATS and MongoDB answer",
    "/livez": "whether this process is alive",
    "/readyz": "whether every collection of this instance is being captured, or why not",
    "/metrics": "metrics for Prometheus",
    "/status": "the state of this instance and its collections",
}

_Show = Callable[[], Awaitable[Response]]


def build_app(probes: Probes, *, check_deadline_s: float = CHECK_DEADLINE_S) -> Starlette:
    """Return the ASGI app that serves `probes`; it runs on trio and has no lifespan.

    A health check that takes longer than `check_deadline_s` counts as down.
    """
    health = Health(probes.checks, deadline_s=check_deadline_s)

    async def show_index() -> Response:
        return _json({"paths": _INDEX})

    async def show_health() -> Response:
        states = await health.states()
        return _json(states, _ok_if("DOWN" not in states.values()))

    async def show_liveness() -> Response:
        return _json({"status": "alive"})

    async def show_readiness() -> Response:
        reasons = list(probes.readiness())
        return _json({"ready": not reasons, "reasons": reasons}, _ok_if(not reasons))

    async def show_metrics() -> Response:
        return _respond(probes.metrics(), media_type=_METRICS_MEDIA_TYPE)

    async def show_status() -> Response:
        return _json(probes.status())

    app = Starlette(
        routes=[
            Route("/", _endpoint(show_index)),
            Route("/health", _endpoint(show_health)),
            Route("/livez", _endpoint(show_liveness)),
            Route("/readyz", _endpoint(show_readiness)),
            Route("/metrics", _endpoint(show_metrics)),
            Route("/status", _endpoint(show_status)),
        ],
        exception_handlers={HTTPException: _refuse},
    )
    # "/health/" is an unknown path like any other, not a redirect to whatever Host the client says.
    app.router.redirect_slashes = False
    return app


def _endpoint(show: _Show) -> Callable[[Request], Awaitable[Response]]:
    async def endpoint(request: Request) -> Response:
        try:
            return await show()
        except Exception as bug:  # noqa: BLE001 - logged here, where no client's error can reach
            structlog.get_logger().error(
                "http.request_failed", path=request.scope["path"], exc_info=bug
            )
            return _json({"error": "Internal Server Error"}, HTTPStatus.INTERNAL_SERVER_ERROR)

    return endpoint


async def _refuse(_: Request, error: Exception) -> Response:
    # Starlette's type covers the handlers of all errors; this one is registered for one type.
    refusal = cast("HTTPException", error)
    return _json({"error": refusal.detail}, refusal.status_code, headers=refusal.headers)


def _ok_if(condition: bool) -> HTTPStatus:
    return HTTPStatus.OK if condition else HTTPStatus.SERVICE_UNAVAILABLE


def _json(
    value: object, status: int = HTTPStatus.OK, *, headers: Mapping[str, str] | None = None
) -> Response:
    return _respond(orjson.dumps(value), status, media_type="application/json", headers=headers)


def _respond(
    body: bytes,
    status: int = HTTPStatus.OK,
    *,
    media_type: str,
    headers: Mapping[str, str] | None = None,
) -> Response:
    return Response(body, status, {"Cache-Control": "no-store", **(headers or {})}, media_type)
