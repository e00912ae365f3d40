"""`mnc status` shows what an instance says, and says what to do when it can't be asked."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest
from tests.deployment import Deploy

from mnc.cli import run

_Serve = Callable[[bytes], str]


@pytest.fixture
def serve_bytes() -> Iterator[_Serve]:
    """Answer every connection with the same bytes, and leave it open; the URL."""
    with ExitStack() as cleanup:

        def serve(answer: bytes) -> str:
            listener = cleanup.enter_context(socket.create_server(("127.0.0.1", 0)))

            def accept() -> None:
                while True:
                    try:
                        connection, _ = listener.accept()
                    except OSError:  # closed at the end of the test
                        return
                    cleanup.callback(connection.close)
                    connection.recv(4096)
                    connection.sendall(answer)

            threading.Thread(target=accept, daemon=True).start()
            cleanup.callback(listener.shutdown, socket.SHUT_RDWR)
            return f"http://127.0.0.1:{listener.getsockname()[1]}"

        yield serve


def _http(body: bytes, status: str = "200 OK", *, more: int = 0) -> bytes:
    return b"HTTP/1.1 %b\r\nContent-Length: %d\r\n\r\n%b" % (
        status.encode(),
        len(body) + more,
        body,
    )


def test_a_running_instance_shows_itself(deploy: Deploy, capfd: pytest.CaptureFixture[str]) -> None:
    """A ready instance is found by its port, shows its collections, and ends the command with 0."""
    deployment = deploy()
    connector = deployment.start_ready()
    port = connector.wait_for_log("service.started")[0]["http_port"]
    done = subprocess.run(
        [sys.executable, "-m", "mnc", "status"],
        env={**os.environ, "HTTP_PORT": str(port)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    assert "instance\tready\tready" in lines
    assert sum(line.startswith("collections of this instance\t") for line in lines) == 2
    assert not any(line.startswith("cluster") for line in lines)

    assert run(["status", "--json", "--url", f"http://127.0.0.1:{port}/status"]) == 0
    assert json.loads(capfd.readouterr().out)["stream"] == deployment.stream


def test_an_instance_that_is_not_ready_says_why(
    deploy: Deploy, capfd: pytest.CaptureFixture[str]
) -> None:
    """What keeps an instance from being ready is shown, and the exit code is 1."""
    connector = deploy(make_stream=False).start(NATS_SERVER_URL="nats://127.0.0.1:1")
    port = connector.wait_for_log("service.started")[0]["http_port"]
    assert run(["status", "--url", f"http://127.0.0.1:{port}"]) == 1
    assert "instance\treason\tNATS can't be reached" in capfd.readouterr().out
    assert run(["status", "--json", "--url", f"http://127.0.0.1:{port}"]) == 1


@pytest.mark.parametrize(
    ("answer", "problem"),
    [
        (_http(b"<html>"), "not the status of an mnc instance"),
        (_http(b'{"version":"1"}'), "not the status of an mnc instance"),
        (_http(b"{}", "404 Not Found"), "Not Found"),
        (_http(b"no", "500 \x1b[2J"), "can't be asked"),
        (b"SSH-2.0-OpenSSH_9\r\n\r\n", "can't be asked"),
        (_http(b"[", "302 Found").replace(b"\r\n\r", b"\r\nLocation: file:///etc\r\n\r"), "asked"),
        (_http(b"{", more=10), "can't be asked"),
        (b"", "can't be asked"),
        (b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * (5 * 1024 * 1024), "answers without an end"),
    ],
)
def test_an_odd_answer_is_an_error(
    serve_bytes: _Serve, capfd: pytest.CaptureFixture[str], answer: bytes, problem: str
) -> None:
    """Whoever answers there, and however, the command ends soon, with a line and with 1."""
    began_at = time.monotonic()
    assert run(["status", "--timeout", "0.5", "--url", serve_bytes(answer)]) == 1
    out, err = capfd.readouterr()
    assert out == ""
    assert problem in err
    assert len(err.splitlines()) == 1
    assert "\x1b" not in err
    assert time.monotonic() - began_at < 10


def test_nobody_there_is_said_with_a_cure(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where nothing listens, the address is named, and the settings that say it; 1."""
    monkeypatch.setenv("HTTP_PORT", "1")
    assert run(["status"]) == 1
    error = capfd.readouterr().err
    for word in ("http://127.0.0.1:1/status", "Connection refused", "--url", "HTTP_PORT"):
        assert word in error


def test_proxies_of_the_environment_are_left_alone(
    serve_bytes: _Serve, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """An instance is asked itself, not the proxy that leads out of the network."""
    monkeypatch.setenv("http_proxy", serve_bytes(_http(b"{}", "407 Proxy")))
    assert run(["status", "--url", "http://127.0.0.1:1"]) == 1
    assert "Connection refused" in capfd.readouterr().err


@pytest.mark.parametrize(
    "url",
    ["", "localhost:3000", "ftp://a", "file:///etc/passwd", "http://", "http://a:x", "http://a b"],
)
def test_a_wrong_url_is_2(url: str, capfd: pytest.CaptureFixture[str]) -> None:
    """What is no address of HTTP is bad input, before anybody is asked."""
    assert run(["status", "--url", url]) == 2
    assert "--url" in capfd.readouterr().err


@pytest.mark.parametrize("port", ["x", "70000", "0"])
def test_a_wrong_port_is_2(
    port: str, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A port that can't be asked is a wrong setting, and named."""
    monkeypatch.setenv("HTTP_PORT", port)
    assert run(["status"]) == 2
    assert "HTTP_PORT" in capfd.readouterr().err
