"""`mnc serve` with wrong settings, and with servers that are not there or refuse.

A wrong setting ends it at once. A server is waited for: it may be fixed while the connector runs.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Protocol

import httpx
import pytest
from tests.connector import ConnectorProcess
from tests.guarded import DATABASE, SECRET, GuardedMongod, guarded_mongod
from tests.jetstream import ask_jetstream
from tests.servers import StartMongod, StartNatsServer
from tests.waiting import wait_until

from mnc.embedded.servers import MongodProcess, NatsServerProcess

_PAGES = ("/health", "/livez", "/readyz", "/status", "/metrics", "/")

_QUIET_S = 5.0
_QUIET_LINES = 6
"""What a connector that only waits may log in `_QUIET_S` seconds, its start included."""

_NOTICED_S = 30.0
"""Until a server that doesn't answer at all is told; one that refuses tells it at once."""

_WAITED_S = 45.0
"""Until a connector looks again whether a person has repaired what it waits for: 30 s at most."""

_GOOD = {
    "MONGO_URI": "mongodb://127.0.0.1:1/shop",
    "MONGO_WATCH_COLLECTIONS": "users",
    "NATS_SERVER_URL": "nats://127.0.0.1:1",
    "RAFT_CLUSTER_SIZE": "1",
    "HTTP_HOST": "127.0.0.1",
    "HTTP_PORT": "0",
}


_LEAST_VERBS = ("INFO", "CREATE", "UPDATE", "MSG.GET")
"""What the connector asks of JetStream's API."""


class Start(Protocol):
    """Start a connector on the session's servers, with changed settings."""

    def __call__(self, **settings: str) -> ConnectorProcess:
        """Start one."""
        ...


@pytest.fixture
def log_path(tmp_path: Path) -> Path:
    """Name the file that a connector's standard error goes to."""
    return tmp_path / "mnc.log"


@pytest.fixture
def start(
    mongod: MongodProcess, nats_server: NatsServerProcess, database: str, log_path: Path
) -> Iterator[Start]:
    """Start connectors, which are killed and must not have shown a secret in their logs."""
    started = []

    def start_one(**settings: str) -> ConnectorProcess:
        good = {
            "MONGO_URI": mongod.database_uri(database),
            "MONGO_WATCH_COLLECTIONS": "users",
            "NATS_SERVER_URL": nats_server.url,
            "NATS_STREAM_NAME": database,
            "NATS_ACK_TIMEOUT_S": "0.5",
        }
        connector = ConnectorProcess({**good, **settings}, log_path=log_path)
        started.append(connector)
        return connector

    yield start_one
    for connector in started:
        connector.kill()
        assert SECRET not in log_path.read_text()
    ask_jetstream(nats_server.url, f"STREAM.DELETE.{database}")


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GuardedMongod]:
    """Run a mongod that wants a login."""
    with guarded_mongod(tmp_path_factory.mktemp("guarded") / "mongod") as server:
        yield server


def assert_alive_but_not_ready(connector: ConnectorProcess) -> None:
    """Assert that probes tell a process that lives from one that works, and nothing secret."""
    pages = {path: connector.get(path) for path in _PAGES}
    assert pages["/livez"].status_code == httpx.codes.OK
    assert pages["/readyz"].status_code == httpx.codes.SERVICE_UNAVAILABLE
    for page in pages.values():
        assert SECRET not in page.text


def assert_quiet(log_path: Path) -> None:
    """Assert that waiting is told in a few lines."""
    lines = log_path.read_text().splitlines()
    assert len(lines) <= _QUIET_LINES, lines


def health(connector: ConnectorProcess) -> tuple[int, str, str]:
    """Return what `/health` says: its status, NATS, MongoDB."""
    answer = connector.get("/health")
    return answer.status_code, answer.json()["nats"], answer.json()["mongo"]


# --- wrong settings ------------------------------------------------------------------------------


def run_serve(settings: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
    """Run `mnc serve` to its end, which has to come by itself."""
    inherited = {name: os.environ[name] for name in ("PATH", "PYTHONPATH") if name in os.environ}
    return subprocess.run(
        [sys.executable, "-m", "mnc", "serve"],
        env={**inherited, **_GOOD, **settings},
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("MONGO_URI", ""),
        ("MONGO_URI", "localhost:27017/shop"),
        ("MONGO_URI", f"mongodb://user:{SECRET}@localhost"),
        ("MONGO_URI", f"mongodb://user:{SECRET}@localhost/shop?w=-1"),
        ("MONGO_URI", f"mongodb://user:{SECRET}@localhost/shop?tls=true&tlsCAFile=/not/there"),
        ("MONGO_URI_FILE", "not-there"),
        ("MONGO_WATCH_COLLECTIONS", ""),
        ("MONGO_WATCH_COLLECTIONS", "users,users"),
        ("MONGO_RESUME_TOKENS_COLLECTION", "users"),
        ("NATS_SERVER_URL", f"http://user:{SECRET}@localhost"),
        ("NATS_STREAM_NAME", "a.b"),
        ("RAFT_CLUSTER_SIZE", "0"),
        ("RAFT_CLUSTER_NAME", "a.b"),
        ("RAFT_ELECTION_TIMEOUT_S", "0.01"),
        ("HTTP_HOST", "192.0.2.1"),
        ("HTTP_PORT", "70000"),
        ("MNC_CONFIG", "not-there.toml"),
    ],
)
def test_a_wrong_setting_is_one_line_and_code_2(setting: str, value: str) -> None:
    """One line on standard error names the setting, without a traceback or a secret."""
    changed = {"MONGO_URI": ""} if setting == "MONGO_URI_FILE" else {}
    done = run_serve({**changed, setting: value})
    assert done.returncode == 2
    assert done.stdout == ""
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"mnc: {setting}: ")
    assert SECRET not in line


def test_wrong_settings_are_told_all_at_once() -> None:
    """Two wrong settings are two lines, so that one start is enough to correct them."""
    done = run_serve({"HTTP_PORT": "x", "LOG_LEVEL": "loud"})
    assert done.returncode == 2
    lines = done.stderr.splitlines()
    assert [line.split(": ")[1] for line in lines] == ["HTTP_PORT", "LOG_LEVEL"]


def test_a_port_in_use_is_a_wrong_setting() -> None:
    """A taken HTTP_PORT ends with 2 and says which it is."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        done = run_serve({"HTTP_PORT": port})
    assert done.returncode == 2
    (line,) = (line for line in done.stderr.splitlines() if "HTTP_PORT" in line)
    assert line.startswith("mnc: HTTP_PORT: ")
    assert port in line
    assert "Traceback" not in done.stderr


# --- servers that are not there ------------------------------------------------------------------


def test_servers_are_waited_for(
    start: Start, start_own_mongod: StartMongod, start_own_nats: StartNatsServer, log_path: Path
) -> None:
    """Without servers it stays up, names the one that is missing, and gets ready by itself."""
    mongod, nats_server = start_own_mongod(), start_own_nats()
    mongod.stop()
    nats_server.stop()

    connector = start(MONGO_URI=mongod.database_uri(DATABASE), NATS_SERVER_URL=nats_server.url)
    connector.wait_not_ready("NATS can't be reached: connection refused", timeout_s=_NOTICED_S)
    assert health(connector) == (503, "DOWN", "DOWN")
    assert_alive_but_not_ready(connector)
    connector.run_for(_QUIET_S)
    assert_quiet(log_path)

    start_own_nats(nats_server.data_dir, port=nats_server.port)
    wait_until(lambda: health(connector) == (503, "UP", "DOWN"), timeout_s=10, what="NATS UP")
    connector.wait_not_ready("MongoDB can't be reached: connection refused", timeout_s=_NOTICED_S)
    assert_alive_but_not_ready(connector)

    start_own_mongod(mongod.data_dir, port=mongod.port)
    connector.wait_ready(timeout_s=_WAITED_S)
    assert health(connector) == (200, "UP", "UP")
    assert connector.terminate() == 0


def test_a_missing_nats_server_alone_is_named(
    start: Start, start_own_nats: StartNatsServer
) -> None:
    """With MongoDB up and NATS down, health and the reason tell which is missing."""
    nats_server = start_own_nats()
    nats_server.stop()
    connector = start(NATS_SERVER_URL=nats_server.url)
    connector.wait_not_ready("NATS can't be reached: connection refused", timeout_s=_NOTICED_S)
    assert health(connector) == (503, "DOWN", "UP")
    assert connector.terminate() == 0


def test_hosts_that_cannot_be_looked_up_are_waited_for(start: Start, log_path: Path) -> None:
    """A DNS without the hosts of a mongodb+srv:// URI may know them later: that is no mistake."""
    connector = start(MONGO_URI=f"mongodb+srv://user:{SECRET}@db.mnc.invalid/{DATABASE}")
    connector.wait_not_ready("DNS", timeout_s=_NOTICED_S)
    assert health(connector) == (503, "UP", "DOWN")
    assert_alive_but_not_ready(connector)
    connector.run_for(_QUIET_S)
    assert_quiet(log_path)
    assert connector.terminate() == 0


# --- MongoDB refuses -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("user", "password", "reason"),
    [
        ("writer", f"{SECRET}-wrong", "MongoDB refuses the user or the password in MONGO_URI"),
        ("", "", "MongoDB wants a login"),
        ("nobody", f"{SECRET}@home", "may not use the token documents"),
        ("reader", f"{SECRET}@home", "may not use the token documents"),
    ],
)
def test_what_mongodb_refuses_is_told(
    start: Start, guarded: GuardedMongod, user: str, password: str, reason: str
) -> None:
    """A wrong login and missing privileges are told, and no password is shown."""
    connector = start(MONGO_URI=guarded.uri_of(user, password=password))
    connector.wait_not_ready(reason, timeout_s=_NOTICED_S)
    assert_alive_but_not_ready(connector)
    assert connector.terminate() == 0


def test_a_user_with_the_least_privileges_is_enough(start: Start, guarded: GuardedMongod) -> None:
    """What docs and `mnc check` ask for is all that the connector needs."""
    connector = start(MONGO_URI=guarded.uri_of("minimal"))
    connector.wait_ready()
    assert connector.terminate() == 0


def test_a_standalone_server_is_told_and_waited_for(
    start: Start, start_own_mongod: StartMongod
) -> None:
    """A standalone mongod is told how to become a replica set, and noticed when it is one."""
    standalone = start_own_mongod(repl_set=None)
    connector = start(MONGO_URI=f"mongodb://127.0.0.1:{standalone.port}/{DATABASE}")
    connector.wait_not_ready("rs.initiate()", timeout_s=_NOTICED_S)
    assert_alive_but_not_ready(connector)
    standalone.stop()
    start_own_mongod(standalone.data_dir, port=standalone.port)
    connector.wait_ready(timeout_s=_WAITED_S)
    assert connector.terminate() == 0


# --- NATS refuses --------------------------------------------------------------------------------


def test_what_nats_refuses_is_told(
    start: Start, start_own_nats: StartNatsServer, log_path: Path
) -> None:
    """A wrong password is a reason not to be ready, told once, and no password is shown."""
    server = start_own_nats(
        extra_config=f"authorization {{ users: [{{user: mnc, password: {SECRET}}}] }}"
    )
    connector = start(NATS_SERVER_URL=f"nats://mnc:{SECRET}-wrong@127.0.0.1:{server.port}")
    connector.wait_not_ready("authorization violation", timeout_s=_NOTICED_S)
    assert health(connector) == (503, "DOWN", "UP")
    assert_alive_but_not_ready(connector)
    connector.run_for(_QUIET_S)
    assert_quiet(log_path)
    assert connector.terminate() == 0


def test_a_missing_permission_is_told(start: Start, start_own_nats: StartNatsServer) -> None:
    """A user that may not ask for the stream is told apart from a server that is silent."""
    server = start_own_nats(
        extra_config=f"""authorization {{ users: [
            {{user: mnc, password: {SECRET}, permissions: {{publish: ["cs.>"]}}}}
        ] }}"""
    )
    connector = start(NATS_SERVER_URL=f"nats://mnc:{SECRET}@127.0.0.1:{server.port}")
    connector.wait_not_ready("NATS denies publishing to", timeout_s=_NOTICED_S)
    assert_alive_but_not_ready(connector)
    assert connector.terminate() == 0


def test_a_user_with_the_least_permissions_is_enough(
    start: Start, start_own_nats: StartNatsServer
) -> None:
    """What docs and `mnc check` ask for is all that the connector needs."""
    verbs = ", ".join(f'"$JS.API.STREAM.{verb}.cs"' for verb in _LEAST_VERBS)
    server = start_own_nats(
        extra_config=f"""authorization {{ users: [{{user: mnc, password: {SECRET}, permissions: {{
            publish: [{verbs}, "cs.>", "cs_position.>"], subscribe: "_INBOX.>"
        }}}}] }}"""
    )
    connector = start(
        NATS_SERVER_URL=f"nats://mnc:{SECRET}@127.0.0.1:{server.port}", NATS_STREAM_NAME="cs"
    )
    connector.wait_ready()
    assert health(connector) == (200, "UP", "UP")
    assert connector.terminate() == 0


def test_a_server_without_jetstream_is_told(start: Start, start_own_nats: StartNatsServer) -> None:
    """A nats-server without JetStream is told to be started with it, and counts as down."""
    connector = start(NATS_SERVER_URL=start_own_nats(jetstream=False).url)
    connector.wait_not_ready("--jetstream", timeout_s=_NOTICED_S)
    assert health(connector) == (503, "DOWN", "UP")
    assert_alive_but_not_ready(connector)
    assert connector.terminate() == 0


def test_a_stream_in_the_way_is_told(start: Start, start_own_nats: StartNatsServer) -> None:
    """Another stream with subjects of this one is a reason not to be ready."""
    server = start_own_nats()
    made = ask_jetstream(
        server.url, "STREAM.CREATE.other", {"name": "other", "subjects": ["cs.users.>"]}
    )
    assert "error" not in made
    connector = start(NATS_SERVER_URL=server.url, NATS_STREAM_NAME="cs")
    connector.wait_not_ready("subjects overlap with an existing stream", timeout_s=_NOTICED_S)
    assert_alive_but_not_ready(connector)
    assert connector.terminate() == 0
