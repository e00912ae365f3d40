"""`mnc tail` and the follower under it, on a real JetStream."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import nats
import pytest
import trio
from tests.jetstream import ask_jetstream
from tests.servers import StartNatsServer

from mnc.drivers.nats.session import NatsSession
from mnc.drivers.nats.tail import StreamFollower
from mnc.embedded.servers import NatsServerProcess
from mnc.errors import SinkError, StreamMissingError
from mnc.model import StreamSeq

TIMEOUT_S = 30
FIRST = StreamSeq(1)


def create(server: NatsServerProcess, stream: str) -> None:
    """Create a stream for events and position markers."""
    subjects = [f"{stream}.*.*.*", f"{stream}_position.*"]
    answer = ask_jetstream(
        server.url, f"STREAM.CREATE.{stream}", {"name": stream, "subjects": subjects}
    )
    assert "error" not in answer


def publish(server: NatsServerProcess, subjects: Sequence[str], payload: bytes = b"{}") -> None:
    """Publish messages, one by one, each acknowledged."""

    async def send() -> None:
        client = await nats.connect(server.url)
        try:
            for subject in subjects:
                await client.jetstream().publish(subject, payload)
        finally:
            await client.close()

    asyncio.run(send())


@pytest.fixture
def stream(nats_server: NatsServerProcess, stream_name: str) -> Iterator[str]:
    """Serve a stream without messages."""
    create(nats_server, stream_name)
    yield stream_name
    ask_jetstream(nats_server.url, f"STREAM.DELETE.{stream_name}")


class Followed:
    """A follower with its session, and what it has returned."""

    def __init__(
        self, server: NatsServerProcess, stream: str, start: StreamSeq | None = FIRST
    ) -> None:
        self.session = NatsSession([server.url], name="test")
        self.follower = StreamFollower(
            self.session, stream=stream, subject_filters=[f"{stream}.*.*.*"], start=start
        )
        self.sequences: list[int] = []
        self.subjects: list[str] = []

    async def read(self, count: int) -> None:
        """Read until `count` messages have come in all."""
        while len(self.sequences) < count:
            await self.session.wait_connected()
            try:
                messages = await self.follower.next_batch()
            except SinkError:
                await trio.sleep(0.1)
                continue
            self.sequences += [message.stream_seq for message in messages]
            self.subjects += [message.subject for message in messages]


async def in_thread(function: object, *arguments: object) -> None:
    """Call a blocking function without stopping the loop."""
    assert callable(function)
    await trio.to_thread.run_sync(lambda: function(*arguments))


async def test_only_events_are_followed_in_order(
    nats_server: NatsServerProcess, stream: str, nursery: trio.Nursery
) -> None:
    """Position markers are not shown; events come in the order of the stream, over many batches."""
    subjects = [f"{stream}.users.insert.{number}" for number in range(600)]
    await in_thread(publish, nats_server, [*subjects[:300], f"{stream}_position.users"])
    await in_thread(publish, nats_server, subjects[300:])
    followed = Followed(nats_server, stream)
    with trio.fail_after(TIMEOUT_S):
        await nursery.start(followed.session.run)
        await followed.read(600)
    assert followed.subjects == subjects
    nursery.cancel_scope.cancel()


async def test_now_is_the_time_of_open(
    nats_server: NatsServerProcess, stream: str, nursery: trio.Nursery
) -> None:
    """What was stored before `open` isn't returned, what comes after it is."""
    await in_thread(publish, nats_server, [f"{stream}.users.insert.1"])
    followed = Followed(nats_server, stream, start=None)
    with trio.fail_after(TIMEOUT_S):
        await nursery.start(followed.session.run)
        await followed.session.wait_connected()
        await followed.follower.open()
        await in_thread(publish, nats_server, [f"{stream}.users.insert.2"])
        await followed.read(1)
    assert followed.sequences == [2]
    nursery.cancel_scope.cancel()


async def test_stream_made_later_is_read_from_its_beginning(
    nats_server: NatsServerProcess, stream_name: str, nursery: trio.Nursery
) -> None:
    """All of a stream that didn't exist is new, also for a follower from now on."""
    followed = Followed(nats_server, stream_name, start=None)
    with trio.fail_after(TIMEOUT_S):
        await nursery.start(followed.session.run)
        await followed.session.wait_connected()
        with pytest.raises(StreamMissingError):
            await followed.follower.next_batch()
        await in_thread(create, nats_server, stream_name)
        await in_thread(publish, nats_server, [f"{stream_name}.users.insert.1"])
        await followed.read(1)
    assert followed.sequences == [1]
    await in_thread(ask_jetstream, nats_server.url, f"STREAM.DELETE.{stream_name}")
    nursery.cancel_scope.cancel()


async def test_stream_made_again_is_read_from_its_beginning(
    nats_server: NatsServerProcess, stream: str, nursery: trio.Nursery
) -> None:
    """A stream's successor of the same name has other messages under the same sequences."""
    await in_thread(publish, nats_server, [f"{stream}.users.insert.1"] * 2)
    followed = Followed(nats_server, stream)
    with trio.fail_after(TIMEOUT_S):
        await nursery.start(followed.session.run)
        await followed.read(2)
        await in_thread(ask_jetstream, nats_server.url, f"STREAM.DELETE.{stream}")
        await in_thread(create, nats_server, stream)
        await in_thread(publish, nats_server, [f"{stream}.users.insert.1"] * 3)
        await followed.read(5)
    assert followed.sequences == [1, 2, 1, 2, 3]
    nursery.cancel_scope.cancel()


async def test_cancelled_read_loses_nothing(
    nats_server: NatsServerProcess, stream: str, nursery: trio.Nursery
) -> None:
    """Cancelled at any moment, the follower returns the same messages the next time."""
    followed = Followed(nats_server, stream)
    with trio.fail_after(TIMEOUT_S):
        await nursery.start(followed.session.run)
        await followed.session.wait_connected()
        for number in range(40):
            await in_thread(publish, nats_server, [f"{stream}.users.insert.{number}"])
            with trio.move_on_after(number * 0.0001):
                await followed.read(number + 1)
        await followed.read(40)
    assert followed.sequences == list(range(1, 41))
    nursery.cancel_scope.cancel()


async def test_broker_outage_leaves_no_gap(
    start_own_nats: StartNatsServer, nursery: trio.Nursery
) -> None:
    """Killed and started again, the broker's stream is followed from where it was."""
    server = start_own_nats()
    await in_thread(create, server, "cs")
    publish_some = [f"cs.users.insert.{number}" for number in range(300)]
    await in_thread(publish, server, publish_some)
    followed = Followed(server, "cs")
    with trio.fail_after(TIMEOUT_S):
        await nursery.start(followed.session.run)
        await followed.read(256)
        await in_thread(server.kill)
        again = start_own_nats(server.data_dir, port=server.port)
        await in_thread(publish, again, publish_some)
        await followed.read(600)
    assert followed.sequences == list(range(1, 601))
    nursery.cancel_scope.cancel()


async def test_message_larger_than_a_batch_comes_alone(
    start_own_nats: StartNatsServer, nursery: trio.Nursery
) -> None:
    """A message over the batch's bytes doesn't stop the follower."""
    server = start_own_nats(extra_config="max_payload: 16MB")
    await in_thread(create, server, "cs")
    await in_thread(publish, server, ["cs.users.insert.1"])
    await in_thread(publish, server, ["cs.users.insert.2"], bytes(12 * 1024 * 1024))
    await in_thread(publish, server, ["cs.users.insert.3"])
    followed = Followed(server, "cs")
    with trio.fail_after(TIMEOUT_S):
        await nursery.start(followed.session.run)
        await followed.read(3)
    assert followed.sequences == [1, 2, 3]
    nursery.cancel_scope.cancel()


# --- the command ----------------------------------------------------------------------------------


@contextmanager
def tail(
    server: NatsServerProcess, stream: str, *arguments: str
) -> Iterator[subprocess.Popen[str]]:
    """Run `mnc tail` with pipes; it is killed at the end."""
    environ = {"PATH": os.environ["PATH"], "NATS_SERVER_URL": server.url}
    with subprocess.Popen(
        [sys.executable, "-m", "mnc", "tail", *arguments],
        env={**environ, "NATS_STREAM_NAME": stream},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def pipe(stream: IO[str] | None) -> IO[str]:
    """Return a process's pipe, which is there."""
    assert stream is not None
    return stream


def test_tail_prints_plain_lines_into_a_pipe(nats_server: NatsServerProcess, stream: str) -> None:
    """Each event is one line with tabs; `--count` ends the command with success."""
    publish(nats_server, [f"{stream}.users.insert.1", f"{stream}.movies.delete.a%20b"])
    with tail(nats_server, stream, "--from", "start", "--count", "2") as process:
        output, errors = process.communicate(timeout=TIMEOUT_S)
    rows = [line.split("\t")[1:] for line in output.splitlines()]
    assert rows == [["users", "insert", "1", "-"], ["movies", "delete", "a b", "-"]]
    assert errors == ""
    assert process.returncode == 0


def test_tail_selects_a_collection_and_a_start(nats_server: NatsServerProcess, stream: str) -> None:
    """`--collection` and `--from SEQUENCE` narrow the output; `--json` is an object a line."""
    publish(
        nats_server, [f"{stream}.{name}.insert.1" for name in ("users", "movies", "my%2Eusers")]
    )
    publish(nats_server, [f"{stream}.my%2Eusers.update.2"], b'{"documentKey":{"_id":2}}')
    options = ("--json", "--count", "1", "--collection", "my.users")
    with tail(nats_server, stream, *options, "--from", "4") as process:
        output, _ = process.communicate(timeout=TIMEOUT_S)
    assert json.loads(output) == {
        "subject": f"{stream}.my%2Eusers.update.2",
        "seq": 4,
        "operation": "update",
        "collection": "my.users",
        "id": 2,
        "lag_s": None,
        "payload": {"documentKey": {"_id": 2}},
    }


def test_tail_waits_for_the_stream(nats_server: NatsServerProcess, stream_name: str) -> None:
    """A stream that doesn't exist is waited for with a line that says so."""
    with tail(nats_server, stream_name, "--count", "1") as process:
        assert stream_name in pipe(process.stderr).readline()
        create(nats_server, stream_name)
        publish(nats_server, [f"{stream_name}.users.insert.1"])
        output, _ = process.communicate(timeout=TIMEOUT_S)
    assert "\tinsert\t" in output
    assert process.returncode == 0
    ask_jetstream(nats_server.url, f"STREAM.DELETE.{stream_name}")


def test_tail_waits_for_the_server(start_own_nats: StartNatsServer) -> None:
    """A server that is down is waited for with a line that says so, without its credentials."""
    server = start_own_nats()
    server.kill()
    with tail(server, "cs", "--from", "start", "--count", "1") as process:
        assert "waiting" in pipe(process.stderr).readline()
        again = start_own_nats(server.data_dir, port=server.port)
        create(again, "cs")
        publish(again, ["cs.users.insert.1"])
        output, _ = process.communicate(timeout=TIMEOUT_S)
    assert "\tinsert\t" in output


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_tail_ends_at_a_signal_without_a_traceback(
    nats_server: NatsServerProcess, stream: str, number: signal.Signals, code: int
) -> None:
    """Ctrl-C ends the command at once, with the exit code that shells give it."""
    publish(nats_server, [f"{stream}.users.insert.1"])
    with tail(nats_server, stream, "--from", "start") as process:
        pipe(process.stdout).readline()
        process.send_signal(number)
        assert process.wait(TIMEOUT_S) == code
        assert pipe(process.stderr).read() == ""


def test_tail_ends_quietly_when_nobody_reads(nats_server: NatsServerProcess, stream: str) -> None:
    """`mnc tail | head -1` ends by itself, also when no further event comes."""
    publish(nats_server, [f"{stream}.users.insert.1"])
    with tail(nats_server, stream, "--from", "start") as process:
        pipe(process.stdout).readline()
        pipe(process.stdout).close()
        process.wait(TIMEOUT_S)
        assert pipe(process.stderr).read() == ""


def test_tail_ends_while_its_reader_stalls(nats_server: NatsServerProcess, stream: str) -> None:
    """Ctrl-C works also when the pipe is full and nobody takes from it."""
    publish(nats_server, [f"{stream}.users.insert.{number}" for number in range(200)], b"x" * 9000)
    with tail(nats_server, stream, "--from", "start", "--json") as process:
        pipe(process.stdout).readline()
        process.send_signal(signal.SIGINT)
        assert process.wait(TIMEOUT_S) == 130


@pytest.mark.parametrize("start", ["0", "-1", "yesterday"])
def test_tail_refuses_a_wrong_start(start: str) -> None:
    """A wrong argument is told in a line, with the exit code of wrong usage."""
    process = subprocess.run(
        [sys.executable, "-m", "mnc", "tail", "--from", start],
        capture_output=True,
        text=True,
        check=False,
    )
    assert process.returncode == 2
    assert "sequence from 1" in process.stderr


def test_tail_needs_no_setting_of_mongodb(start_own_nats: StartNatsServer, tmp_path: Path) -> None:
    """NATS's settings are enough, and may stand in a file or in the TOML file as for the others."""
    server = start_own_nats(extra_config="authorization: {user: ann, password: secret}")
    secret_file = tmp_path / "url"
    secret_file.write_text(server.url.replace("nats://", "nats://ann:secret@"))
    toml_file = tmp_path / "mnc.toml"
    toml_file.write_text('nats_stream_name = "elsewhere"')
    environ = {"NATS_SERVER_URL_FILE": str(secret_file), "MNC_CONFIG": str(toml_file)}
    with subprocess.Popen(
        [sys.executable, "-m", "mnc", "tail"], env=environ, stderr=subprocess.PIPE, text=True
    ) as process:
        assert "stream elsewhere" in pipe(process.stderr).readline()
        process.terminate()
