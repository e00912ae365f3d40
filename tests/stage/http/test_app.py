"""Every path of the app, over a real socket."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import httpx
import pytest
import trio
from structlog.testing import capture_logs
from tests.stage.http.serving import FakeProbes, raise_down, start_server

from mnc.http.app import build_app

PATHS = ("/", "/health", "/livez", "/readyz", "/metrics", "/status")

Ask = Callable[..., Awaitable[httpx.Response]]


@pytest.fixture
def probes() -> FakeProbes:
    """Return probes of a healthy process, for a test to change."""
    return FakeProbes()


@pytest.fixture
async def ask(probes: FakeProbes, nursery: trio.Nursery) -> Ask:
    """Return a function that sends one request to a server of `probes`."""
    port = await start_server(nursery, build_app(probes, check_deadline_s=0.1))

    async def request(path: str, method: str = "GET") -> httpx.Response:
        with trio.fail_after(5):
            async with httpx.AsyncClient(trust_env=False) as client:
                return await client.request(method, f"http://127.0.0.1:{port}{path}")

    return request


async def test_health_is_up_when_every_server_answers(ask: Ask) -> None:
    """`/health` answers what the earlier connector answered, byte by byte."""
    answer = await ask("/health")
    assert answer.status_code == 200
    assert answer.content == b'{"nats":"UP","mongo":"UP"}'
    assert answer.headers["content-type"] == "application/json"


async def test_health_is_down_when_a_server_refuses(probes: FakeProbes, ask: Ask) -> None:
    """A check that raises an MncError makes its server DOWN, and `/health` a 503."""
    probes.checks["mongo"] = raise_down
    answer = await ask("/health")
    assert answer.status_code == 503
    assert answer.content == b'{"nats":"UP","mongo":"DOWN"}'


async def test_health_is_down_when_a_server_hangs(probes: FakeProbes, ask: Ask) -> None:
    """A check that never returns makes its server DOWN, and the answer comes all the same."""
    probes.checks["nats"] = trio.sleep_forever
    answer = await ask("/health")
    assert answer.status_code == 503
    assert answer.content == b'{"nats":"DOWN","mongo":"UP"}'


async def test_liveness_does_not_depend_on_servers(probes: FakeProbes, ask: Ask) -> None:
    """`/livez` is 200 as long as the process turns, whatever the servers do."""
    probes.checks.update(nats=raise_down, mongo=trio.sleep_forever)
    probes.reasons = ["NATS can't be reached."]
    answer = await ask("/livez")
    assert answer.status_code == 200
    assert answer.content == b'{"status":"alive"}'


async def test_ready_instance_has_no_reasons(ask: Ask) -> None:
    """`/readyz` is 200 when there is no reason against it."""
    answer = await ask("/readyz")
    assert answer.status_code == 200
    assert answer.content == b'{"ready":true,"reasons":[]}'


async def test_unready_instance_says_why(probes: FakeProbes, ask: Ask) -> None:
    """`/readyz` is 503 with every reason."""
    probes.reasons = ["users is waiting for MongoDB.", "movies lost its position."]
    answer = await ask("/readyz")
    assert answer.status_code == 503
    assert answer.json() == {"ready": False, "reasons": probes.reasons}


async def test_metrics_are_prometheus_text(probes: FakeProbes, ask: Ask) -> None:
    """`/metrics` serves the exposition unchanged, as text format 0.0.4."""
    probes.exposition = b"# TYPE mnc_up gauge\nmnc_up 1.0\n"
    answer = await ask("/metrics")
    assert answer.status_code == 200
    assert answer.content == probes.exposition
    assert answer.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"


async def test_status_is_json(probes: FakeProbes, ask: Ask) -> None:
    """`/status` serves the status as it is."""
    probes.state = {"version": "1.2.3", "collections": {"users": {"lag_s": 0.5, "error": None}}}
    answer = await ask("/status")
    assert answer.status_code == 200
    assert answer.json() == probes.state
    assert answer.headers["content-type"] == "application/json"


async def test_index_lists_every_path(ask: Ask) -> None:
    """`/` names every other path, so that a person finds them."""
    answer = await ask("/")
    assert answer.status_code == 200
    assert set(answer.json()["paths"]) == {*PATHS} - {"/"}


@pytest.mark.parametrize("path", PATHS)
async def test_head_is_get_without_a_body(ask: Ask, path: str) -> None:
    """HEAD gets the status and headers of GET, and no body."""
    got, head = await ask(path), await ask(path, "HEAD")
    assert head.status_code == got.status_code
    assert head.headers["content-length"] == got.headers["content-length"]
    assert head.headers["content-type"] == got.headers["content-type"]
    assert head.content == b""


@pytest.mark.parametrize("path", ["/nothing", "/health/", "/%00", "/..%2fstatus"])
async def test_unknown_path_is_404(ask: Ask, path: str) -> None:
    """A path that isn't served is a 404 in JSON, never a redirect."""
    answer = await ask(path)
    assert answer.status_code == 404
    assert answer.json() == {"error": "Not Found"}


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("method", ["POST", "DELETE", "OPTIONS"])
async def test_wrong_method_is_405(ask: Ask, path: str, method: str) -> None:
    """A method other than GET and HEAD is a 405 that names the allowed ones."""
    answer = await ask(path, method)
    assert answer.status_code == 405
    assert {*answer.headers["allow"].split(", ")} == {"GET", "HEAD"}
    assert answer.json() == {"error": "Method Not Allowed"}


async def test_bug_is_500_and_stays_inside(probes: FakeProbes, ask: Ask) -> None:
    """A bug becomes an error in the log, and a 500 whose body tells nothing of it."""
    probes.state = {"password": object()}
    with capture_logs() as logged:
        answer = await ask("/status")
    assert answer.status_code == 500
    assert answer.json() == {"error": "Internal Server Error"}
    (line,) = logged
    assert (line["event"], line["log_level"]) == ("http.request_failed", "error")
    assert (line["path"], type(line["exc_info"])) == ("/status", TypeError)


@pytest.mark.parametrize("path", [*PATHS, "/nothing"])
@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_nothing_is_cached(ask: Ask, path: str, method: str) -> None:
    """Every answer, refusals included, forbids caches to store it."""
    answer = await ask(path, method)
    assert answer.headers["cache-control"] == "no-store"
