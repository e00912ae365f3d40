"""Token documents that can't be written cost nothing: the stream knows how far it is."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager

import pytest
from tests.deployment import DUPLICATE_WINDOW_S, TOKENS, Deploy, Deployment
from tests.guarded import GuardedMongod, guarded_mongod
from tests.soak import SOAK
from tests.waiting import wait_until

OUT_OF_DISK_SPACE = 14031
"""A code that drivers don't take for a server that shuts down."""


@contextmanager
def failing_token_writes(deployment: Deployment) -> Iterator[None]:
    """Make MongoDB refuse the connector's writes, but nobody else's."""
    admin = deployment.client.admin
    admin.command(
        {
            "configureFailPoint": "failCommand",
            "mode": "alwaysOn",
            "data": {
                "failCommands": ["update", "findAndModify"],
                "errorCode": OUT_OF_DISK_SPACE,
                "appName": "mnc",
            },
        }
    )
    try:
        yield
    finally:
        admin.command({"configureFailPoint": "failCommand", "mode": "off"})


def tokens(deployment: Deployment) -> Sequence[object]:
    """Return the token of each collection's document."""
    documents = [deployment.token_document(name) for name in deployment.collections]
    return [document and document["token"] for document in documents]


def test_crash_after_failed_token_writes_repeats_nothing(deploy: Deploy) -> None:
    """Events go on while tokens can't be written, and a crash then neither repeats nor loses any.

    The stream's memory of message ids is over when the connector comes back, so that nothing but
    the position markers can say what is stored. Afterwards the tokens catch up.
    """
    deployment = deploy()
    connector = deployment.start_ready()
    with deployment.writer(seed=1) as writer:
        writer.wait_for_events(50)
        with failing_token_writes(deployment):
            connector.wait_for_log("checkpoint.failing")
            behind = tokens(deployment)
            published = connector.counted("events_published")
            wait_until(
                lambda: connector.counted("events_published") > published + 100,
                timeout_s=20,
                what="events to be published although tokens can't be written",
            )
            connector.kill()
            forgotten_at = time.monotonic() + 10 * DUPLICATE_WINDOW_S
            wait_until(
                lambda: time.monotonic() > forgotten_at,
                timeout_s=5,
                what="the stream to forget the message ids",
            )
            connector = deployment.start_ready()
            connector.wait_for_log("checkpoint.failing")
            assert tokens(deployment) == behind
        connector.wait_for_log("checkpoint.recovered")
    deployment.finish(writer.events)


def test_collection_is_not_watched_before_its_first_position_is_durable(deploy: Deploy) -> None:
    """A first token that can't be kept is waited for: "ready" means that nothing later is missed.

    Otherwise a crash before the first event would make "now" of a later start the first position.
    """
    deployment = deploy()
    with failing_token_writes(deployment):
        connector = deployment.start()
        connector.wait_not_ready("OutOfDiskSpace", timeout_s=20)
        assert not connector.log("capture.opened")
    connector.wait_ready()
    connector.kill()
    with deployment.writer(seed=1) as writer:
        writer.wait_for_events(50)
    deployment.start()
    deployment.finish(writer.events)


# --- the token collection refuses -------------------------------------------------------------


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GuardedMongod]:
    """Run a mongod that knows what its users may do."""
    with guarded_mongod(tmp_path_factory.mktemp("guarded") / "mongod") as server:
        yield server


KEEPING = ("find", "insert", "update")
"""What the connector does with token documents."""


def privileges(*, tokens: Sequence[str]) -> Sequence[object]:
    """Return those of the connector, with these actions on the token documents."""
    return [
        {"resource": {"db": "", "collection": ""}, "actions": ["find", "changeStream"]},
        {"resource": {"db": "", "collection": TOKENS}, "actions": list(tokens)},
    ]


@contextmanager
def denied(deployment: Deployment) -> Iterator[str]:
    """Take the right to write token documents from the connector's user."""
    admin = deployment.client.admin
    admin.command("updateRole", "connector", privileges=privileges(tokens=["find"]))
    try:
        yield "the user in MONGO_URI may not use the token documents"
    finally:
        admin.command("updateRole", "connector", privileges=privileges(tokens=KEEPING))


@contextmanager
def invalid(deployment: Deployment) -> Iterator[str]:
    """Give the token documents a validator that takes none."""
    deployment.db.command("collMod", TOKENS, validator={"never": {"$exists": True}})
    try:
        yield "a validator refuses the token documents"
    finally:
        deployment.db.command("collMod", TOKENS, validator={})


Refuse = Callable[[Deployment], AbstractContextManager[str]]


@pytest.mark.parametrize("refuse", [denied, invalid])
@pytest.mark.parametrize(("seed", "rounds"), [(1, 2), pytest.param(2, 20, marks=SOAK)])
def test_refused_token_writes_delay_nothing(
    deploy: Deploy, guarded: GuardedMongod, refuse: Refuse, seed: int, rounds: int
) -> None:
    """While the token collection can't be written, events go on, and `/status` says why.

    A crash meanwhile repeats nothing, and afterwards the tokens catch up without a restart.
    """
    rng = random.Random(seed)
    deployment = deploy(mongod=guarded)
    admin = deployment.client.admin
    admin.command("createRole", "connector", privileges=privileges(tokens=KEEPING), roles=[])
    user = {"user": "connector", "password": "connector"}
    admin.command("createUser", user["user"], pwd=user["password"], roles=["connector"])
    uri = guarded.uri_of(**user, database=deployment.database, options="&authSource=admin")
    connector = deployment.start_ready(MONGO_URI=uri)
    with deployment.writer(seed=seed) as writer:
        for number in range(rounds):
            writer.wait_for_events(rng.randrange(20, 100))
            with refuse(deployment) as reason:
                if number % 2:
                    connector.kill()
                    connector = deployment.start_ready(MONGO_URI=uri)
                wait_until(
                    lambda: reason in connector.get("/status").text,  # noqa: B023 - called at once
                    timeout_s=20,
                    what="the refusal to be said",
                )
                published = connector.counted("events_published")
                wait_until(
                    lambda: connector.counted("events_published") > published + 50,  # noqa: B023
                    timeout_s=20,
                    what="events to be published although tokens can't be written",
                )
            wait_until(
                lambda: "checkpoint_error" not in connector.get("/status").text,  # noqa: B023
                timeout_s=40,
                what="the tokens to be written again",
            )
    deployment.finish(writer.events)
    admin.command("dropUser", user["user"])
    admin.command("dropRole", "connector")
