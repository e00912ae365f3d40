"""What operators do to the stream and to JetStream while events flow.

What they remove is gone, as they wanted. Everything else arrives: where the stream refuses, the
connector says why, and goes on by itself once it is cured.
"""

from __future__ import annotations

import json
import random
import time
from collections.abc import Callable
from dataclasses import dataclass

import pytest
from tests.connector import ConnectorProcess
from tests.deployment import DUPLICATE_WINDOW_S, Deploy, Deployment
from tests.injection.operators import Operator, Undo
from tests.jetstream import create_stream
from tests.oracle import Event, compare
from tests.servers import DENYING, StartNatsServer, login
from tests.soak import SOAK
from tests.waiting import wait_until

STALL_S = 5
"""After how long without publishing the connector says that it isn't ready."""

RETRY_S = 30
"""A refused lane tries again after 15 to 30 s."""

DUPLICATE_WINDOW_NS = round(DUPLICATE_WINDOW_S * 1e9)


def operator_of(deployment: Deployment) -> Operator:
    """Return the operator of a deployment's stream."""
    return Operator(deployment.nats_url, deployment.stream)


def write(deployment: Deployment) -> int:
    """Insert documents and update each of them twice; return the number of events."""
    for name in deployment.collections:
        collection = deployment.db[name]
        ids = collection.insert_many({"n": n} for n in range(20)).inserted_ids
        for _ in range(2):
            collection.update_many({"_id": {"$in": ids}}, {"$inc": {"n": 1}})
    return 3 * 20 * len(deployment.collections)


def stored_events(deployment: Deployment) -> list[Event]:
    """Return the events that the stream holds now."""
    changes = [json.loads(message.payload) for message in deployment.oracle.messages()]
    return [
        Event(change["ns"]["coll"], change["_id"]["_data"], change["operationType"])
        for change in changes
    ]


def wait_for_last(deployment: Deployment) -> list[Event]:
    """Wait until the newest event of each collection is stored; return all that there ever were."""
    committed = list(deployment.oracle.committed())
    newest = {event.collection: event.token for event in committed}
    wait_until(
        lambda: all(deployment.marker_token(name) == token for name, token in newest.items()),
        timeout_s=60,
        what="the newest events to be stored",
    )
    return committed


def check_rest(deployment: Deployment, connector: ConnectorProcess) -> None:
    """Assert that the stream holds each collection's newest events, without a gap.

    The older ones were there once, and were removed.
    """
    committed = wait_for_last(deployment)
    wait_until(
        lambda: connector.counted("events_published") >= len(committed),
        timeout_s=5,
        what="each event to be acknowledged",
    )
    assert connector.terminate() == 0
    stored = stored_events(deployment)
    for name in deployment.collections:
        expected = [event for event in committed if event.collection == name]
        held = [event for event in stored if event.collection == name]
        report = compare(expected[len(expected) - len(held) :], held)
        deployment.reports.append(report)
        assert report.is_exact, report


def wait_for_progress(connector: ConnectorProcess) -> None:
    """Wait until events are stored again."""
    enough = connector.counted("events_published") + 50
    wait_until(
        lambda: connector.counted("events_published") > enough,
        timeout_s=2 * STALL_S,
        what="events to be published again",
    )


def show(number: int, rounds: int, what: object) -> None:
    """Print a fault that is about to happen."""
    print(f"{number} of {rounds}: {what}", flush=True)  # noqa: T201 - pytest shows it with a failure


# --- what is removed --------------------------------------------------------------------------


def purge(operator: Operator) -> None:
    """Remove all messages."""
    operator.purge()


def delete(operator: Operator) -> None:
    """Delete the stream, which the connector then creates."""
    operator.delete()


def make_anew(operator: Operator) -> None:
    """Create the stream again, without what batches need."""
    operator.make_anew(duplicate_window=DUPLICATE_WINDOW_NS)


@pytest.mark.parametrize("remove", [purge, delete, make_anew])
@pytest.mark.parametrize(("seed", "rounds"), [(1, 3), pytest.param(2, 20, marks=SOAK)])
def test_nothing_is_missing_but_what_was_removed(
    deploy: Deploy, remove: Callable[[Operator], None], seed: int, rounds: int
) -> None:
    """A stream that was emptied goes on with the next event, within seconds.

    Whoever made it again, the connector adds what batches need.
    """
    rng = random.Random(seed)
    deployment = deploy(NATS_ACK_TIMEOUT_S="1")
    connector = deployment.start_ready()
    with deployment.writer(seed=seed) as writer:
        for number in range(1, rounds + 1):
            writer.wait_for_events(rng.randrange(20, 200))
            show(number, rounds, remove.__name__)
            remove(operator_of(deployment))
            wait_for_progress(connector)
            connector.run_for(rng.uniform(1, 3))  # at once again, it would be one trouble
    check_rest(deployment, connector)
    assert len(connector.log("service.started")) == 1


def test_stream_that_keeps_one_message_per_subject_goes_on(deploy: Deploy) -> None:
    """An operator may choose to keep only the newest message of each subject.

    Every event was there once, and what is kept is in order.
    """
    deployment = deploy()
    connector = deployment.start_ready()
    with deployment.writer(seed=1) as writer:
        writer.wait_for_events(100)
        operator_of(deployment).amend(max_msgs_per_subject=1)
        writer.wait_for_events(300)
    committed = wait_for_last(deployment)
    assert len(committed) == writer.events
    wait_until(
        lambda: connector.counted("events_published") == writer.events,
        timeout_s=5,
        what="each event to be acknowledged once",
    )
    report = compare(committed, stored_events(deployment))
    assert (report.duplicated, report.misordered, report.unexpected) == (0, 0, 0), report
    assert report.lost > 0
    assert not connector.log("lane.failed")


def purge_under_a_lost_position(
    deploy: Deploy, *, duplicate_window_s: float
) -> tuple[Deployment, ConnectorProcess, int]:
    """Crash a connector before it writes tokens, purge what it stored, and start another.

    That one has to store the same events again, whose ids the stream still remembers.
    """
    deployment = deploy(make_stream=False, CHECKPOINT_INTERVAL_S="60")
    create_stream(deployment.nats_url, deployment.stream, duplicate_window_s=duplicate_window_s)
    connector = deployment.start_ready()
    events = write(deployment)
    wait_for_last(deployment)
    connector.kill()
    operator_of(deployment).purge()
    return deployment, deployment.start(), events


def test_purged_events_without_a_position_are_stored_again(deploy: Deploy) -> None:
    """They are refused as duplicates until the stream has forgotten their ids, and arrive then."""
    deployment, _, events = purge_under_a_lost_position(deploy, duplicate_window_s=4)
    deployment.finish(events)


def test_failures_in_a_row_are_one_trouble(deploy: Deploy) -> None:
    """A connector that stores nothing for long isn't ready, however often its lanes start anew."""
    _, connector, _ = purge_under_a_lost_position(deploy, duplicate_window_s=60)
    connector.wait_not_ready("duplicate", timeout_s=4 * STALL_S)
    until = time.monotonic() + STALL_S
    while time.monotonic() < until:
        assert connector.reasons(), "ready without having stored anything"
        connector.run_for(0.05)


# --- what is refused --------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """What makes a stream take no more events, and how the connector says so."""

    name: str
    cause: Callable[[Operator], Undo]
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """A deployment whose events are refused, until it is cured."""

    name: str
    deployment: Deployment
    connector: ConnectorProcess
    reason: str
    cure: Undo
    events: int
    """Written so far."""


def seal(operator: Operator) -> Undo:
    """Seal the stream, which nobody can take back: only a new one helps."""
    operator.amend(sealed=True)
    return lambda: make_anew(operator)


FULL_OF_MESSAGES = Refusal(
    name="messages",
    cause=lambda operator: operator.limit_messages(room=30),
    reason="maximum messages exceeded",
)
FULL_OF_BYTES = Refusal(
    name="bytes",
    cause=lambda operator: operator.limit_bytes(room=10_000),
    reason="maximum bytes exceeded",
)
FULL_SUBJECTS = Refusal(
    name="messages per subject",
    cause=lambda operator: operator.amend(max_msgs_per_subject=1, discard_new_per_subject=True),
    reason="maximum messages per subject exceeded",
)
WITHOUT_BATCHES = Refusal(
    name="no batches",
    cause=lambda operator: operator.amend(allow_atomic=False),
    reason="atomic publish is disabled",
)
SEALED = Refusal(name="sealed", cause=seal, reason="sealed")


def refused(deploy: Deploy, refusal: Refusal) -> Case:
    """Let a connector run into a refusal."""
    deployment = deploy()
    connector = deployment.start_ready()
    cure = refusal.cause(operator_of(deployment))
    return Case(
        name=refusal.name,
        deployment=deployment,
        connector=connector,
        reason=refusal.reason,
        cure=cure,
        events=write(deployment),
    )


def denied(deploy: Deploy, start: StartNatsServer) -> Case:
    """Start a connector that may not add to the stream what batches need."""
    server = start(extra_config=DENYING)
    deployment = deploy(
        nats_server=server,
        NATS_SERVER_URL=login(server.url, "mnc"),
        NATS_ACK_TIMEOUT_S="1",
        NATS_REQUIRE_FENCING="true",
    )
    stream = deployment.stream

    def cure() -> None:
        operator_of(deployment).amend(
            subjects=[f"{stream}.*.*.*", f"{stream}_position.*", f"{stream}_deadletter.*"],
            allow_atomic=True,
            allow_rollup_hdrs=True,
            allow_msg_ttl=True,
        )

    return Case(
        name="denied",
        deployment=deployment,
        connector=deployment.start(),
        reason="STREAM.UPDATE",
        cure=cure,
        events=0,
    )


def test_refusals_are_named_and_waited_for(deploy: Deploy, start_own_nats: StartNatsServer) -> None:
    """A connector whose events are refused isn't ready and says why; cured, it goes on by itself.

    All at the same time, because a refused lane tries again no sooner than after 15 s.
    """
    refusals = (FULL_OF_MESSAGES, FULL_OF_BYTES, FULL_SUBJECTS, WITHOUT_BATCHES, SEALED)
    cases = [refused(deploy, refusal) for refusal in refusals]
    cases.append(denied(deploy, start_own_nats))
    for case in cases:
        case.connector.wait_not_ready(case.reason, timeout_s=STALL_S + 5)
    for case in cases:
        case.cure()
    for case in cases:
        case.connector.wait_ready(timeout_s=RETRY_S + 15)
        case.deployment.finish(case.events + write(case.deployment))
        assert len(case.connector.log("service.started")) == 1, case.name


def test_denied_change_comes_with_the_command(
    deploy: Deploy, start_own_nats: StartNatsServer
) -> None:
    """Where the connector may not change the stream, it says what an operator has to run."""
    case = denied(deploy, start_own_nats)
    case.connector.wait_not_ready(case.reason, timeout_s=STALL_S + 5)
    assert all(
        f"nats stream edit {case.deployment.stream}" in reason
        for reason in case.connector.reasons()
    )


@pytest.mark.parametrize("rounds", [pytest.param(20, marks=SOAK)])
@pytest.mark.parametrize(
    "refusal",
    [FULL_OF_MESSAGES, FULL_OF_BYTES, WITHOUT_BATCHES, SEALED],
    ids=lambda refusal: refusal.name,
)
def test_refusals_at_random_times_lose_nothing(
    deploy: Deploy, refusal: Refusal, rounds: int
) -> None:
    """Whenever the stream refuses, and for however long, the events wait in MongoDB."""
    rng = random.Random(1)
    deployment = deploy()
    connector = deployment.start_ready()
    with deployment.writer(seed=1, pause_s=0.02) as writer:
        for number in range(1, rounds + 1):
            writer.wait_for_events(rng.randrange(200))
            show(number, rounds, refusal.name)
            cure = refusal.cause(operator_of(deployment))
            connector.wait_not_ready(refusal.reason, timeout_s=STALL_S + 5)
            connector.run_for(rng.uniform(0, RETRY_S))
            cure()
            connector.wait_ready(timeout_s=RETRY_S + 15)
    check_rest(deployment, connector)
    if refusal is not SEALED:
        deployment.finish(writer.events)


def test_message_over_the_streams_limit_is_named(deploy: Deploy) -> None:
    """An event that is larger than the stream's `max_msg_size` is reported as that."""
    deployment = deploy(NATS_OVERSIZE="stop")
    connector = deployment.start_ready()
    operator_of(deployment).amend(max_msg_size=2000)
    deployment.db[deployment.collections[0]].insert_one({"text": "x" * 4000})
    connector.wait_not_ready("max_msg_size", timeout_s=STALL_S + 3)


# --- JetStream switched off -------------------------------------------------------------------


@pytest.mark.parametrize(("seed", "rounds"), [(1, 1), pytest.param(2, 20, marks=SOAK)])
def test_broker_without_jetstream_is_reported_and_waited_for(
    deploy: Deploy, start_own_nats: StartNatsServer, seed: int, rounds: int
) -> None:
    """A broker that comes back without JetStream is as good as none, until it has it again."""
    rng = random.Random(seed)
    server = start_own_nats()
    deployment = deploy(nats_server=server)
    connector = deployment.start_ready()
    with deployment.writer(seed=seed) as writer:
        for number in range(1, rounds + 1):
            writer.wait_for_events(rng.randrange(20, 200))
            show(number, rounds, "JetStream off")
            server.stop()
            server = start_own_nats(server.data_dir, port=server.port, jetstream=False)
            connector.wait_not_ready("has not been able to publish", timeout_s=STALL_S + 10)
            assert connector.get("/health").json()["nats"] == "DOWN"
            connector.run_for(rng.uniform(0, 3))
            server.stop()
            server = start_own_nats(server.data_dir, port=server.port)
            connector.wait_ready(timeout_s=20)
    deployment.finish(writer.events)
    assert not connector.log("lane.failed")


def test_reason_is_the_newest_error(deploy: Deploy, start_own_nats: StartNatsServer) -> None:
    """What a connector says of a trouble is what is wrong now, and not how it began."""
    server = start_own_nats()
    deployment = deploy(nats_server=server)
    connector = deployment.start_ready()
    with deployment.writer(seed=1) as writer:
        writer.wait_for_events(50)
        server.stop()
        start_own_nats(server.data_dir, port=server.port, jetstream=False)
        connector.wait_not_ready("JetStream", timeout_s=STALL_S + 3)
