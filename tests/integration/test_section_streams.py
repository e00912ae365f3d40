"""Sections with streams of their own, on real servers."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from tests.deployment import DUPLICATE_WINDOW_S, TOKENS, Deploy, Deployment
from tests.integration.checking import run_check
from tests.jetstream import ask_jetstream, create_stream
from tests.nats_cluster import NODES, NatsCluster
from tests.oracle import Oracle
from tests.servers import StartNatsServer
from tests.waiting import wait_until
from tests.writer import Writer

_LARGE_BYTES = 2_000_000
"""Over the server's max_payload."""


class _Split(NamedTuple):
    """A deployment that watches `users` for its stream and what begins with `pay_` for another."""

    deployment: Deployment
    stream: str
    """The other one."""
    oracle: Oracle
    """The other one's, for `pay_in`."""

    def writer(self, *, seed: int) -> Writer:
        """Return a writer to `pay_in`."""
        return Writer(self.deployment.mongo_uri, self.deployment.database, ["pay_in"], seed=seed)

    def ask(self, verb: str, **body: object) -> None:
        """Ask something of the other stream."""
        answer = ask_jetstream(self.deployment.nats_url, f"{verb}.{self.stream}", body)
        assert "error" not in answer, answer


@pytest.fixture
def split(deploy: Deploy, tmp_path: Path) -> Iterator[_Split]:
    """Make a deployment with two streams."""
    path = tmp_path / "mnc.toml"
    made = deploy(
        collections=["users"], MONGO_WATCH_COLLECTIONS="users,pay_*", MNC_CONFIG=str(path)
    )
    stream = f"{made.stream}_pay"
    path.write_text(f'[[collections]]\nmatch = "pay_*"\nnats_stream_name = "{stream}"\n')
    create_stream(made.nats_url, stream, duplicate_window_s=DUPLICATE_WINDOW_S)
    yield _Split(
        made,
        stream,
        Oracle(
            mongo_uri=made.mongo_uri,
            database=made.database,
            collections=["pay_in"],
            nats_url=made.nats_url,
            stream=stream,
        ),
    )
    made.kill()
    for name in (stream, f"OBJ_{stream}_payloads"):
        ask_jetstream(made.nats_url, f"STREAM.DELETE.{name}")


def test_streams_are_exact_each_for_its_collections(split: _Split) -> None:
    """Under writes and a crash each has its collections' events, and all else that is theirs."""
    deployment = split.deployment
    connector = deployment.start_ready()
    with deployment.writer(seed=71) as writer, split.writer(seed=72) as other_writer:
        writer.wait_for_events(100)
        other_writer.wait_for_events(50)
        connector.kill()
        writer.wait_for_events(150)
        connector = deployment.start_ready()
        other_writer.wait_for_events(200)
    deployment.db["pay_in"].insert_one({"_id": "large", "blob": "x" * _LARGE_BYTES})
    report = split.oracle.report(timeout_s=20)
    assert report.is_exact, report
    assert report.expected == other_writer.events + 1
    status = connector.get("/status").json()
    assert status["stream"] == deployment.stream
    assert status["other_streams"] == {split.stream: {"mode": "atomic", "not_promised": []}}
    shown = connector.get("/metrics").text
    for stream in (deployment.stream, split.stream):
        assert f'mnc_publish_mode{{mode="atomic",stream="{stream}"}} 1.0' in shown
    deployment.finish(writer.events)
    documents = [document["_id"] for document in deployment.db[TOKENS].find()]
    assert {document["collection"]: document["stream"] for document in documents} == {
        "": deployment.stream,
        "users": deployment.stream,
        "pay_in": split.stream,
    }
    assert len(documents) == 3
    changes = [json.loads(message.payload) for message in split.oracle.messages()]
    buckets = [change["payload"]["bucket"] for change in changes if "payload" in change]
    assert buckets == [f"{split.stream}_payloads"]


def test_a_broken_stream_holds_up_its_own_collections(split: _Split) -> None:
    """The others are exact meanwhile; what says why names the stream."""
    deployment = split.deployment
    deployment.db["pay_in"].insert_one({"_id": 0})  # so that it is found
    config = ask_jetstream(deployment.nats_url, f"STREAM.INFO.{split.stream}")["config"]
    split.ask("STREAM.UPDATE", **{**config, "sealed": True})
    connector = deployment.start()
    connector.wait_not_ready(f"stream {split.stream} is sealed", timeout_s=30)
    connector.wait_for_log("capture.opened")
    with deployment.writer(seed=73) as writer:
        writer.wait_for_events(50)
    [reason] = [found for found in connector.reasons() if deployment.database in found]
    assert f"{deployment.database}.pay_in" in reason
    checked = run_check(deployment.settings, "--json")
    problems = [it for it in json.loads(checked.stdout)["findings"] if it["level"] == "problem"]
    assert [it["check"] for it in problems] == ["stream"]
    assert problems[0]["found"].startswith(f"stream {split.stream}: ")
    [position] = [it for it in json.loads(checked.stdout)["findings"] if it["check"] == "positions"]
    assert "users" in position["found"]
    deployment.finish(writer.events)


@pytest.mark.soak
def test_a_collection_that_goes_elsewhere_begins_anew_there(split: _Split) -> None:
    """The stream that it leaves keeps its place, and the other one begins with a snapshot."""
    deployment = split.deployment
    deployment.settings["MONGO_WATCH_COLLECTIONS"] = "users,pay_in"
    deployment.expect_from_now()
    path = Path(deployment.settings["MNC_CONFIG"])
    text = path.read_text()
    path.write_text("")
    connector = deployment.start_ready()
    deployment.db["pay_in"].insert_one({"_id": 1})
    wait_until(
        lambda: len(deployment.oracle.everything()) == 1, timeout_s=10, what="the first event"
    )
    assert connector.terminate() == 0
    path.write_text(text)
    deployment.db["pay_in"].insert_one({"_id": 2})
    connector = deployment.start_ready(MONGO_SNAPSHOT="initial")
    deployment.db["pay_in"].insert_one({"_id": 3})
    wait_until(
        lambda: len(split.oracle.everything()) == 3, timeout_s=10, what="the other stream's events"
    )
    assert connector.terminate() == 0
    operations = [message.subject.split(".")[2] for message in split.oracle.everything()]
    assert operations == ["read", "read", "insert"]
    path.write_text("")
    connector = deployment.start_ready()
    wait_until(
        lambda: len(deployment.oracle.everything()) == 3, timeout_s=10, what="all of its events"
    )
    assert connector.terminate() == 0


@pytest.mark.soak
def test_commands_find_the_stream_of_a_collection(split: _Split) -> None:
    """A snapshot is asked for by name alone; a tail follows the stream in NATS_STREAM_NAME."""
    deployment = split.deployment
    deployment.db["pay_in"].insert_one({"_id": 1})
    deployment.start_ready()
    done = deployment.run("snapshot", "pay_in")
    assert done.returncode == 0, done.stderr
    wait_until(
        lambda: len(split.oracle.everything()) == 1, timeout_s=20, what="the snapshot to be taken"
    )
    deployment.settings["NATS_STREAM_NAME"] = split.stream
    tail = deployment.run("tail", "--from", "1", "--count", "1")
    assert tail.returncode == 0, tail.stderr
    assert "pay_in" in tail.stdout


@pytest.mark.soak
def test_batches_that_wait_for_a_stream_leave_room_for_others(
    deploy: Deploy, start_own_nats: StartNatsServer, tmp_path: Path
) -> None:
    """A stream whose only server is away keeps none of what may be in flight for another."""
    cluster = NatsCluster(start_own_nats)
    path = tmp_path / "mnc.toml"
    path.write_text('[[collections]]\nmatch = "payments"\nnats_stream_name = "own"\n')
    deployment = deploy(
        nats_server=cluster,
        make_stream=False,
        collections=["users"],
        MONGO_WATCH_COLLECTIONS="users,payments",
        MNC_CONFIG=str(path),
        NATS_ACK_TIMEOUT_S="60",
        PUBLISH_MAX_INFLIGHT_BATCHES="1",
        SHUTDOWN_TIMEOUT_S="1",
    )
    create_stream(
        cluster.url,
        deployment.stream,
        duplicate_window_s=DUPLICATE_WINDOW_S,
        replicas=len(NODES),
    )
    create_stream(cluster.url, "own", duplicate_window_s=DUPLICATE_WINDOW_S)
    node = cluster.leader("own")
    other = next(name for name in NODES if name != node)
    cluster.lead(deployment.stream, other)
    connector = deployment.start_ready(NATS_SERVER_URL=cluster.server(other).url)
    cluster.freeze(node)
    deployment.db["payments"].insert_one({"_id": 1})
    wait_until(
        lambda: connector.counted("events_captured") == 1, timeout_s=10, what="the first event"
    )
    deployment.db["users"].insert_one({"_id": 1})
    wait_until(
        lambda: connector.counted("events_published") == 1, timeout_s=20, what="the other event"
    )
    cluster.come_back(node)
    deployment.finish(1)
