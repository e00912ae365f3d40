"""`mnc up` as a user runs it: servers, connector, samples and view in one process."""

from __future__ import annotations

import os
import pty
import re
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import httpx
import pytest
from pymongo import MongoClient
from tests.jetstream import ask_jetstream
from tests.servers import has_ended
from tests.waiting import wait_until

TIMEOUT_S = 60
SOON_S = 20
HIDE_CURSOR, SHOW_CURSOR = b"\x1b[?25l", b"\x1b[?25h"

Wanted = set[tuple[str, str]]
EVERYTHING: Wanted = {
    (collection, operation)
    for collection in ("users", "movies")
    for operation in ("insert", "update", "replace", "delete")
}


def command(data_dir: Path, *arguments: str) -> Sequence[str]:
    """Return a command line of `mnc up` with free ports, unless `arguments` name others."""
    ports = ("--mongo-port", "0", "--nats-port", "0", "--http-port", "0")
    return [sys.executable, "-m", "mnc", "up", "--data-dir", str(data_dir), *ports, *arguments]


class Up:
    """One run of `mnc up` without a terminal, on free ports."""

    def __init__(self, data_dir: Path, *arguments: str, log_dir: Path) -> None:
        self.data_dir = data_dir
        self._out, self._err = log_dir / "up.out", log_dir / "up.err"
        with self._out.open("wb") as out, self._err.open("wb") as err:
            self.process = subprocess.Popen(
                command(data_dir, *arguments),
                env={"PATH": os.environ["PATH"]},
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
            )

    @property
    def lines(self) -> Sequence[str]:
        """What it has printed, but for a line that isn't complete."""
        return self._out.read_text().rpartition("\n")[0].splitlines()

    @property
    def errors(self) -> str:
        """What it has said on standard error."""
        return self._err.read_text()

    @property
    def events(self) -> Sequence[Sequence[str]]:
        """The fields of the events so far."""
        return [line.split("\t") for line in self.lines if "\t" in line]

    def place(self, name: str) -> str:
        """Return one of the addresses that it prints at first."""

        def printed() -> str:
            assert self.process.poll() is None, self.errors
            return next((line.split()[1] for line in self.lines if line.startswith(name)), "")

        return wait_until(printed, timeout_s=TIMEOUT_S, what=f"the address of {name}")

    def wait_for(self, wanted: Wanted) -> None:
        """Wait until events of these collections and operations were printed."""

        def seen() -> bool:
            assert self.process.poll() is None, self.errors
            return wanted <= {(fields[1], fields[2]) for fields in self.events}

        wait_until(seen, timeout_s=TIMEOUT_S, what=f"events {wanted}")

    def wait_ready(self) -> None:
        """Wait until every collection is captured: what is written from then on is an event."""
        url = self.place("HTTP").replace("/health", "/readyz")
        wait_until(
            lambda: httpx.get(url).status_code == 200, timeout_s=TIMEOUT_S, what="it to be ready"
        )

    def children(self) -> Sequence[int]:
        """Return the process ids of its servers."""
        task = f"/proc/{self.process.pid}/task/{self.process.pid}/children"
        return [int(pid) for pid in Path(task).read_text().split()]

    def stop(self, number: signal.Signals = signal.SIGINT) -> int:
        """Send a signal and return the exit code."""
        self.process.send_signal(number)
        return self.process.wait(TIMEOUT_S)


@contextmanager
def up(data_dir: Path, *arguments: str, log_dir: Path) -> Iterator[Up]:
    """Run `mnc up`; it is killed at the end, and its servers with it."""
    run = Up(data_dir, *arguments, log_dir=log_dir)
    try:
        yield run
    finally:
        run.process.kill()
        run.process.wait()


linux_only = pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")


@linux_only
def test_demo_shows_every_operation_and_ends_cleanly(tmp_path: Path) -> None:
    """Sample changes of all kinds arrive; Ctrl-C ends all processes with success, data kept."""
    with up(tmp_path / "data", "--demo", log_dir=tmp_path) as run:
        run.wait_for(EVERYTHING)
        run.wait_ready()
        children = run.children()
        assert len(children) == 2
        assert run.stop() == 0
        assert all(has_ended(pid) for pid in children)
        assert run.errors == f"mnc: stopped; the data stays in {run.data_dir}\n"


@linux_only
def test_second_run_goes_on_where_the_first_stopped(tmp_path: Path) -> None:
    """Documents and stream survive; what was stored isn't shown again; nothing is lost between."""
    data_dir = tmp_path / "data"
    with up(data_dir, "--collections", "users", log_dir=tmp_path) as first:
        insert(first, 1)
        first.wait_for({("users", "insert")})
        assert first.stop(signal.SIGTERM) == 0
    with up(data_dir, "--collections", "users", log_dir=tmp_path) as second:
        insert(second, 2)
        second.wait_for({("users", "insert")})
        assert [fields[3] for fields in second.events] == ["2"]
        info = ask_jetstream(second.place("NATS").strip(","), "STREAM.INFO.cs")
        # Each event with a position marker after it, of which the last one is kept.
        assert info["state"]["messages"] == 3
        assert second.stop() == 0
    with up(data_dir, "--collections", "users", "--reset", log_dir=tmp_path) as third:
        insert(third, 2)
        third.wait_for({("users", "insert")})


def insert(run: Up, document_id: int) -> None:
    """Insert a user, for an event."""
    run.wait_ready()
    with MongoClient[dict[str, Any]](run.place("MongoDB")) as client:
        client.get_default_database()["users"].insert_one({"_id": document_id})


@linux_only
def test_killed_up_leaves_no_server(tmp_path: Path) -> None:
    """Kill -9 takes the servers along, and the next run works on what they left."""
    with up(tmp_path / "data", "--demo", log_dir=tmp_path) as run:
        run.wait_for({("users", "insert")})
        children = run.children()
        run.process.kill()
        run.process.wait()
        wait_until(
            lambda: all(has_ended(pid) for pid in children),
            timeout_s=SOON_S,
            what="the servers to end",
        )
    with up(tmp_path / "data", "--demo", log_dir=tmp_path) as run:
        run.wait_for({("users", "update")})
        assert run.stop() == 0


@linux_only
def test_up_ends_with_a_server_that_dies(tmp_path: Path) -> None:
    """A server that ends by itself ends the command, which says so and stops the other."""
    with up(tmp_path / "data", log_dir=tmp_path) as run:
        run.place("HTTP")
        children = run.children()
        os.kill(children[0], signal.SIGKILL)
        assert run.process.wait(TIMEOUT_S) == 1
        assert "mongod ended" in run.errors
        assert "Traceback" not in run.errors
        assert all(has_ended(pid) for pid in children)


@linux_only
def test_up_ends_when_nobody_reads(tmp_path: Path) -> None:
    """`mnc up --demo | head` stops everything after the last line that was wanted."""
    with subprocess.Popen(
        command(tmp_path / "data", "--demo"),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.readline().startswith("mnc ")
        process.stdout.close()
        assert process.wait(TIMEOUT_S) == 0
        assert "Traceback" not in process.stderr.read()


def test_one_up_for_a_folder(tmp_path: Path) -> None:
    """A second run in the same folder is refused with a line that names the first."""
    with up(tmp_path / "data", log_dir=tmp_path) as first:
        first.place("HTTP")
        second = subprocess.run(
            command(tmp_path / "data"),
            capture_output=True,
            text=True,
            check=False,
        )
        assert second.returncode == 1
        assert f"process {first.process.pid}" in second.stderr
        assert len(second.stderr.splitlines()) == 1


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["--collections", "users,users"], "2 times"),
        (["--collections", ""], "empty"),
        (["--demo", "--collections", "orders"], "watch one of them"),
        (["--http-port", "99999"], "99999"),
    ],
)
def test_wrong_arguments_are_told(tmp_path: Path, arguments: list[str], problem: str) -> None:
    """Wrong arguments end the command before any server starts, with exit code 2."""
    data_dir = tmp_path / "data"
    refused = subprocess.run(
        command(data_dir, *arguments),
        capture_output=True,
        text=True,
        check=False,
    )
    assert refused.returncode == 2
    assert problem in refused.stderr
    assert not data_dir.exists()


def test_taken_port_is_told(tmp_path: Path) -> None:
    """A port that was asked for and is taken is an error with the option's name."""
    with up(tmp_path / "first", log_dir=tmp_path) as first:
        port = first.place("HTTP").partition("127.0.0.1:")[2].partition("/")[0]
        for option in ("--mongo-port", "--nats-port", "--http-port"):
            refused = subprocess.run(
                command(tmp_path / "second", option, port),
                capture_output=True,
                text=True,
                check=False,
            )
            assert refused.returncode == 2
            assert f"{option}: port {port} is taken" in refused.stderr


class Terminal:
    """A terminal that `mnc up --demo` runs on, and what was drawn on it."""

    def __init__(self, data_dir: Path) -> None:
        self.drawn = b""
        self._controller, terminal = pty.openpty()
        self.process = subprocess.Popen(
            command(data_dir, "--demo"),
            env={"PATH": os.environ["PATH"], "TERM": "xterm-256color"},
            stdin=terminal,
            stdout=terminal,
            stderr=terminal,
        )
        os.close(terminal)

    def read_until(self, text: bytes) -> None:
        """Read until `text` was drawn."""
        while text not in self.drawn:
            self.drawn += os.read(self._controller, 65536)

    def read_to_end(self) -> None:
        """Read until nobody can draw any more, which Linux tells by an error."""
        with suppress(OSError):
            while True:
                self.drawn += os.read(self._controller, 65536)

    def hang_up(self) -> None:
        """Take the terminal away. Idempotent."""
        if self._controller >= 0:
            os.close(self._controller)
        self._controller = -1


@pytest.fixture
def terminal(tmp_path: Path) -> Iterator[Terminal]:
    """Run `mnc up --demo` on a terminal; it is killed at the end."""
    running = Terminal(tmp_path / "data")
    yield running
    running.process.kill()
    running.process.wait()
    running.hang_up()


@linux_only
def test_terminal_gets_a_live_view(terminal: Terminal, tmp_path: Path) -> None:
    """On a terminal the view is drawn in place, and left in order at the end."""
    terminal.read_until(b"2 events")
    terminal.process.send_signal(signal.SIGINT)
    terminal.read_to_end()
    assert terminal.process.wait(TIMEOUT_S) == 0
    assert b"mongosh" in terminal.drawn
    assert terminal.drawn.rindex(SHOW_CURSOR) > terminal.drawn.rindex(HIDE_CURSOR)
    assert b"the data stays in" in terminal.drawn
    assert "service.stopped" in (tmp_path / "data" / "mnc.log").read_text()


@linux_only
def test_connector_outlives_its_view(terminal: Terminal, tmp_path: Path) -> None:
    """A terminal that is gone ends the view alone: events go on arriving in the stream."""
    terminal.read_until(b"2 events")
    http = re.search(rb"http://127.0.0.1:\d+", terminal.drawn)
    assert http is not None
    terminal.hang_up()
    log_path = tmp_path / "data" / "mnc.log"
    wait_until(
        lambda: "view.failed" in log_path.read_text(), timeout_s=SOON_S, what="the view to fail"
    )
    before = published(http[0].decode())
    wait_until(
        lambda: published(http[0].decode()) > before, timeout_s=SOON_S, what="more events to arrive"
    )
    terminal.process.send_signal(signal.SIGTERM)
    assert terminal.process.wait(TIMEOUT_S) == 0
    assert "service.stopped" in log_path.read_text()


def published(http_url: str) -> int:
    """Return how many events the connector says that it has published."""
    collections = httpx.get(f"{http_url}/status").json()["collections"]
    return sum(collection["events_published"] for collection in collections)
