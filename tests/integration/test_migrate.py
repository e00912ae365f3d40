"""`mnc migrate` takes over where an earlier connector stopped: nothing lost, nothing repeated."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial

import pytest
from tests.deployment import TOKENS, Deploy, Deployment
from tests.earlier import EarlierConnector, of_collections, of_one_collection
from tests.jetstream import ask_jetstream, read_messages
from tests.oracle import Event, compare
from tests.waiting import wait_until

_COLLECTIONS = ("users", "movies", "quiet")
_HISTORY_LOST = 286


@dataclass(frozen=True, slots=True, kw_only=True)
class Migrated:
    """What one run of `mnc migrate` came to."""

    code: int
    decisions: dict[str, Sequence[str]]
    """The lines by their collections: what is done, what was found, and what to do."""
    stderr: str


def migrate(deployment: Deployment, *args: str) -> Migrated:
    """Run `mnc migrate` as a user does."""
    inherited = {name: os.environ[name] for name in ("PATH", "PYTHONPATH") if name in os.environ}
    done = subprocess.run(
        [sys.executable, "-m", "mnc", "migrate", *args],
        env={**inherited, **deployment.settings},
        capture_output=True,
        text=True,
        check=False,
    )
    assert "Traceback" not in done.stderr, done.stderr
    lines = [line.split("\t") for line in done.stdout.splitlines()]
    return Migrated(
        code=done.returncode,
        decisions={name: (verb, *rest) for verb, name, *rest in lines},
        stderr=done.stderr,
    )


def verbs(migrated: Migrated) -> Sequence[str]:
    """Return what is done with the collections, in their order."""
    return [verb for verb, *_ in migrated.decisions.values()]


def state(deployment: Deployment) -> object:
    """Return all that a migration may change."""
    info = ask_jetstream(deployment.nats_url, f"STREAM.INFO.{deployment.stream}")
    return list(deployment.db[TOKENS].find()), info["config"], info["state"]


@contextmanager
def lost_history(deployment: Deployment) -> Iterator[None]:
    """Let MongoDB say to `mnc migrate` that the oplog doesn't reach back far enough."""
    data = {"failCommands": ["getMore"], "errorCode": _HISTORY_LOST, "appName": "mnc migrate"}
    fail_point = {"configureFailPoint": "failCommand", "data": data}
    deployment.client.admin.command({**fail_point, "mode": "alwaysOn"})
    try:
        yield
    finally:
        deployment.client.admin.command({**fail_point, "mode": "off"})


def events(deployment: Deployment, stream: str) -> Sequence[Event]:
    """Return the events in a stream, in its order."""
    payloads = [
        json.loads(message.payload)
        for message in read_messages(deployment.nats_url, stream)
        if "_position." not in message.subject
    ]
    return [
        Event(change["ns"]["coll"], change["_id"]["_data"], change["operationType"])
        for change in payloads
    ]


def write(deployment: Deployment, *collections: str) -> None:
    """Insert a document into each of `collections`, which may name one several times."""
    for name in collections:
        deployment.db[name].insert_one({})


@pytest.fixture
def deployment(deploy: Deploy) -> Deployment:
    """Make a deployment of which nobody has published anything."""
    return deploy(collections=_COLLECTIONS)


@pytest.fixture
def earlier(deployment: Deployment) -> EarlierConnector:
    """Make an earlier connector that watches the database, into the stream that mnc takes over."""
    return EarlierConnector(
        deployment.db,
        collections=_COLLECTIONS,
        tokens=deployment.db[TOKENS],
        nats_url=deployment.nats_url,
        subject=of_collections(deployment.stream),
    )


def test_database_level_tokens_are_taken_over_exactly(
    deployment: Deployment, earlier: EarlierConnector
) -> None:
    """An event that was published without its token isn't repeated, one after it isn't lost."""
    write(deployment, "users", "movies", "users", "users")
    earlier.publish(4, unsaved=1)
    write(deployment, "movies", "quiet", "users", "quiet")
    migrated = migrate(deployment, "--apply")
    assert (migrated.code, verbs(migrated)) == (0, ["take over"] * 3), migrated
    write(deployment, "quiet", "movies")
    deployment.start_ready()
    deployment.finish(10)


def test_collection_level_tokens_are_taken_over_exactly(deploy: Deploy) -> None:
    """Each collection goes on after its own token, into a stream that had nothing of it."""
    deployment = deploy(collections=_COLLECTIONS[:2], make_stream=False)
    tokens = deployment.client[f"{deployment.database}_tokens"]
    streams = {name: f"{deployment.stream}-{name.upper()}" for name in deployment.collections}
    for name, stream in streams.items():
        tokens.create_collection(name, capped=True, size=4096)
        make = {"name": stream, "subjects": [f"{stream}.*"]}
        ask_jetstream(deployment.nats_url, f"STREAM.CREATE.{stream}", make)
        earlier = EarlierConnector(
            deployment.db[name],
            collections=[name],
            tokens=tokens[name],
            nats_url=deployment.nats_url,
            subject=of_one_collection(stream),
        )
        write(deployment, name, name, name)
        earlier.publish(3, unsaved=1)
    write(deployment, "users", "movies", "users")
    places = ("--tokens", f"{tokens.name}.*", "--published-to", f"{deployment.stream}-*")
    assert migrate(deployment, "--apply", *places).code == 0
    write(deployment, "movies")
    migrated = partial(events, deployment, deployment.stream)
    connector = deployment.start_ready()
    wait_until(lambda: len(migrated()) == 4, timeout_s=20, what="all events")
    assert connector.terminate() == 0
    stored = [event for stream in streams.values() for event in events(deployment, stream)]
    report = compare(deployment.oracle.committed(), [*stored, *migrated()])
    assert (report.is_exact, report.expected) == (True, 10), report


def test_what_is_applied_is_what_was_said(
    deployment: Deployment, earlier: EarlierConnector
) -> None:
    """Nothing is changed without --apply; with it the same is done, and once more changes nothing.

    Where tokens are ahead of what was published, a collection's last event in the stream counts.
    """
    write(deployment, "users", "movies", "movies", "users")
    earlier.publish(2, unpublished=2)
    before = state(deployment)
    said = migrate(deployment)
    assert state(deployment) == before
    expected_words = ["last event", "last event", "newest token"]
    for name, expected in zip(_COLLECTIONS, expected_words, strict=True):
        verb, found, *_ = said.decisions[name]
        assert verb == "take over"
        assert expected in found
    applied = migrate(deployment, "--apply")
    assert (applied.code, applied.decisions) == (0, said.decisions)
    after = state(deployment)
    assert after != before
    assert verbs(migrate(deployment, "--apply")) == ["keep"] * 3
    assert state(deployment) == after


def test_refusal_of_one_collection_changes_none(
    deployment: Deployment, earlier: EarlierConnector
) -> None:
    """A position that MongoDB can't resume from is said now, and ends the command with 2."""
    write(deployment, "users")
    earlier.publish(1)
    before = state(deployment)
    with lost_history(deployment):
        migrated = migrate(deployment, "--apply")
    assert (migrated.code, verbs(migrated)) == (2, ["refuse"] * 3)
    assert "docs/migration.md" in migrated.decisions["quiet"][2]
    assert state(deployment) == before
