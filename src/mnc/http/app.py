"""The paths of the HTTP server: probes, metrics and status."""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus

import orjson
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

_PATHS = {
    "/health": "whether NATS and MongoDB answer",
    "/livez": "whether this process is alive",
    "/readyz": "whether every collection of this instance is being captured, or why not",
    "/metrics": "metrics for Prometheus",
    "/status": "the state of this instance and its collections",
}


def build_app(probes: Probes, *, check_deadline_s: float = CHECK_DEADLINE_S) -> Starlette:
    """Return the ASGI app that serves `probes`; it runs on trio and has no lifespan.

    A health check that takes longer than `check_deadline_s` counts as down.
    """
    health = Health(probes.checks, deadline_s=check_deadline_s)

    async def show_index(_: Request) -> Response:
        return _json({"paths": _PATHS})

    async def show_health(_: Request) -> Response:
        states = await health.states()
        return _json(states, _ok_if("DOWN" not in states.values()))

    async def show_liveness(_: Request) -> Response:
        return _json({"status": "alive"})

    async def show_readiness(_: Request) -> Response:
        reasons = list(probes.readiness())
        return _json({"ready": not reasons, "reasons": reasons}, _ok_if(not reasons))

    async def show_metrics(_: Request) -> Response:
        return _respond(probes.metrics(), media_type=_METRICS_MEDIA_TYPE)

    async def show_status(_: Request) -> Response:
        return _json(probes.status())

    app = Starlette(
        routes=[
            Route("/", show_index),
            Route("/health", show_health),
            Route("/livez", show_liveness),
            Route("/readyz", show_readiness),
            Route("/metrics", show_metrics),
            Route("/status", show_status),
        ],
        exception_handlers={HTTPException: _show_error, Exception: _show_error},
    )
    # "/health/" is an unknown path like any other, not a redirect to whatever Host the client says.
    app.router.redirect_slashes = False
    return app


async def _show_error(_: Request, error: Exception) -> Response:
    if isinstance(error, HTTPException):
        return _json({"error": error.detail}, error.status_code, headers=error.headers)
    # A bug: hypercorn logs it, and what it says is nobody else's business.
    return _json({"error": "Internal Server Error"}, HTTPStatus.INTERNAL_SERVER_ERROR)


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
