"""What a broker's operators change by a reload, while events flow: rights, logins and limits.

The connector says what is denied and what to do about it, keeps the events, and goes on by itself
when it is given back.
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass

import pytest
from tests.connector import ConnectorProcess
from tests.deployment import Deploy, Deployment
from tests.injection.processes import freeze, thaw
from tests.servers import StartNatsServer, reload
from tests.soak import SOAK
from tests.waiting import wait_until

from mnc.embedded.servers import NatsServerProcess

NOTICED_S = 15
"""After how long at most the connector isn't ready and says why."""

RETRY_S = 30
"""A refused lane tries again after 15 to 30 s."""

LARGEST = 2_000
"""A `max_payload` that takes the smallest events of the tests and not the larger ones."""

# The tests are the operator, who may do anything.
_CONFIG = """
max_payload: {max_payload}
accounts: {{
  A: {{
    jetstream: {jetstream}
    users: [
      {{user: operator, password: operator}}
      {{user: mnc, password: {password}, permissions: {{{permissions}}}}}
    ]
  }}
}}
no_auth_user: operator
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """What is changed, and what the connector says of it.

    `{stream}` is its stream, `{collection}` the first of its collections.
    """

    name: str
    says: tuple[str, ...]
    """What is wrong and what to do, in one of `/readyz`' reasons."""
    permissions: str = ""
    jetstream: str = "enabled"
    password: str = "mnc"  # noqa: S105 - of a server that lives for one test
    max_payload: int = 1024 * 1024

    def config(self, **names: str) -> str:
        """Return the broker's configuration with the change in it."""
        return _CONFIG.format(
            max_payload=self.max_payload,
            jetstream=self.jetstream,
            password=self.password,
            permissions=self.permissions.format(**names),
        )


PERMIT = "permit it to the user that mnc logs in as"

NOTHING = Change(name="nothing", says=())

CHANGES = (
    Change(
        name="no events",
        permissions='publish: {{deny: ["{stream}.>"]}}',
        says=("NATS denies publishing to {stream}.", PERMIT),
    ),
    Change(
        name="no events of one collection",
        permissions='publish: {{deny: ["{stream}.{collection}.>"]}}',
        says=("NATS denies publishing to {stream}.{collection}.", PERMIT),
    ),
    Change(
        name="no markers",
        permissions='publish: {{deny: ["{stream}_position.>"]}}',
        says=("NATS denies publishing to {stream}_position.", PERMIT),
    ),
    Change(
        name="no answers",
        permissions='subscribe: {{deny: ["_INBOX.>"]}}',
        says=("NATS denies subscribing to _INBOX.>", PERMIT),
    ),
    Change(
        name="no JetStream",
        jetstream="disabled",
        says=("enable JetStream for the account that mnc logs in to",),
    ),
    Change(
        name="another password",
        password="another",  # noqa: S106 - of a server that lives for one test
        says=("authorization violation", "check NATS_USER"),
    ),
    Change(
        name="max_payload",
        max_payload=LARGEST,
        says=("over the broker's max_payload", "raise max_payload"),
    ),
)


NO_API = Change(
    name="no API",
    permissions='publish: {{deny: ["$JS.API.>"]}}',
    says=("NATS denies publishing to $JS.API.STREAM.", PERMIT),
)
"""The connector needs the API when an answer has not come, and at a lane's start."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """A connector, and the broker at which it has a login of its own."""

    server: NatsServerProcess
    deployment: Deployment
    connector: ConnectorProcess

    @property
    def names(self) -> Mapping[str, str]:
        """What changes may name."""
        deployment = self.deployment
        return {"stream": deployment.stream, "collection": deployment.collections[0]}

    def reload(self, change: Change) -> None:
        """Let the broker's configuration be what it was but for a change."""
        reload(self.server, change.config(**self.names))

    def wait_said(self, change: Change) -> None:
        """Wait until the connector says what is wrong and what to do."""
        for words in change.says:
            self.connector.wait_not_ready(words.format(**self.names), timeout_s=NOTICED_S)

    def write(self) -> int:
        """Insert documents of all sizes into each collection; return the number of events."""
        for name in self.deployment.collections:
            collection = self.deployment.db[name]
            collection.insert_many({"text": "x" * 40 * n} for n in range(100))
        return 100 * len(self.deployment.collections)


def begin(deploy: Deploy, start: StartNatsServer) -> Scene:
    """Start a broker, and a connector that has a login at it."""
    server = start(extra_config=NOTHING.config())
    deployment = deploy(
        nats_server=server,
        NATS_USER="mnc",
        NATS_PASSWORD="mnc",  # noqa: S106 - of a server that lives for one test
        NATS_ACK_TIMEOUT_S="1",
        NATS_OVERSIZE="stop",
    )
    return Scene(server=server, deployment=deployment, connector=deployment.start_ready())


def show(what: str) -> None:
    """Print what is about to happen."""
    print(what, flush=True)  # noqa: T201 - pytest shows it with a failure


def test_changes_are_named_and_waited_for(deploy: Deploy, start_own_nats: StartNatsServer) -> None:
    """A connector that lost a right isn't ready and says which; given it back, it goes on.

    All at the same time, because a refused lane tries again no sooner than after 15 s.
    """
    scenes = {change: begin(deploy, start_own_nats) for change in CHANGES}
    events = 0
    for change, scene in scenes.items():
        scene.reload(change)
        events = scene.write()
    for change, scene in scenes.items():
        show(change.name)
        scene.wait_said(change)
    for scene in scenes.values():
        scene.reload(NOTHING)
    for change, scene in scenes.items():
        show(f"{change.name} given back")
        scene.connector.wait_ready(timeout_s=RETRY_S + 15)
        scene.deployment.finish(events + scene.write())
        assert len(scene.connector.log("service.started")) == 1


def wait_for_progress(connector: ConnectorProcess) -> None:
    """Wait until events have been published after this call."""
    enough = connector.counted("events_published") + 50
    wait_until(
        lambda: connector.counted("events_published") > enough,
        timeout_s=10,
        what="events to be published without the API",
    )


@pytest.mark.parametrize(("seed", "rounds"), [pytest.param(1, 20, marks=SOAK)])
def test_events_go_on_without_the_api_until_an_answer_is_lost(
    deploy: Deploy, start_own_nats: StartNatsServer, seed: int, rounds: int
) -> None:
    """Without the right to read the marker a batch in doubt stays in doubt, which is said."""
    rng = random.Random(seed)
    scene = begin(deploy, start_own_nats)
    with scene.deployment.writer(seed=seed) as writer:
        for number in range(1, rounds + 1):
            show(f"{number} of {rounds}: {NO_API.name}")
            scene.reload(NO_API)
            wait_for_progress(scene.connector)
            freeze(scene.server)
            scene.connector.run_for(rng.uniform(1.5, 3))
            thaw(scene.server)
            scene.wait_said(NO_API)
            scene.reload(NOTHING)
            scene.connector.wait_ready(timeout_s=RETRY_S + 15)
    scene.deployment.finish(writer.events)
    assert len(scene.connector.log("service.started")) == 1


@pytest.mark.parametrize("rounds", [pytest.param(20, marks=SOAK)])
@pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.name)
def test_changes_under_writes_leave_the_stream_exact(
    deploy: Deploy, start_own_nats: StartNatsServer, change: Change, rounds: int
) -> None:
    """Whatever is changed at whatever time, each event is stored once and in order."""
    rng = random.Random(1)
    scene = begin(deploy, start_own_nats)
    with scene.deployment.writer(seed=1) as writer:
        for number in range(1, rounds + 1):
            writer.wait_for_events(rng.randrange(20, 200))
            show(f"{number} of {rounds}: {change.name}")
            scene.reload(change)
            if rng.random() < 0.5:
                scene.wait_said(change)
            scene.connector.run_for(rng.uniform(0, 3))
            scene.reload(NOTHING)
            scene.connector.wait_ready(timeout_s=RETRY_S + 15)
    scene.deployment.finish(writer.events)
    assert len(scene.connector.log("service.started")) == 1
