"""What operators do to the stream and to JetStream while events flow.

What they remove is gone, as they wanted. Everything else arrives: where the stream refuses, the
connector says why, and goes on by itself once it is cured.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from contextlib import ExitStack

import pytest
from tests.connector import ConnectorProcess
from tests.deployment import DUPLICATE_WINDOW_S, Deploy, Deployment
from tests.injection.operator import Operator
from tests.jetstream import create_stream
from tests.oracle import Event, compare
from tests.servers import StartNatsServer
from tests.waiting import wait_until

SOAK = (pytest.mark.soak, pytest.mark.timeout(1800))

STALL_S = 5
"""After how long without publishing the connector says that it isn't ready."""

RETRY_S = 30
"""A refused lane tries again after 15 to 30 s."""

DUPLICATE_WINDOW_NS = round(DUPLICATE_WINDOW_S * 1e9)

DENIED = """
accounts: {
  A: {
    jetstream: enabled
    users: [
      {user: operator, password: operator}
      {user: mnc, password: mnc, permissions: {publish: {deny: ["$JS.API.STREAM.UPDATE.>"]}}}
    ]
  }
}
no_auth_user: operator
"""
"""A server on which an operator may do anything and the user mnc may not change streams."""


def operator_of(deployment: Deployment) -> Operator:
    """Return the operator of a deployment's stream."""
    return Operator(deployment.nats_url, deployment.stream)


def stored_events(deployment: Deployment) -> list[Event]:
    """Return the events that the stream holds now."""
    changes = [json.loads(message.payload) for message in deployment.oracle.messages()]
    return [
        Event(change["ns"]["coll"], change["_id"]["_data"], change["operationType"])
        for change in changes
    ]


def wait_for_last(deployment: Deployment) -> list[Event]:
    """Wait until the last event of each collection is stored; return all that were committed."""
    committed = list(deployment.oracle.committed())
    last = {event.collection: event.token for event in committed}
    wait_until(
        lambda: all(deployment.marker_token(name) == token for name, token in last.items()),
        timeout_s=60,
        what="the last events",
    )
    return committed


def check_rest(deployment: Deployment, connector: ConnectorProcess) -> None:
    """Assert that the stream holds the newest events of each collection, without a gap.

    What is missing before them was in the stream once, and removed.
    """
    committed = wait_for_last(deployment)
    assert connector.counted("events_published") >= len(committed)
    assert connector.terminate() == 0
    stored = stored_events(deployment)
    for collection in deployment.collections:
        expected = [event for event in committed if event.collection == collection]
        held = [event for event in stored if event.collection == collection]
        report = compare(expected[len(expected) - len(held) :], held)
        assert report.is_exact, report


# --- what is removed --------------------------------------------------------------------------


def purged(operator: Operator) -> None:
    operator.purge()


def deleted(operator: Operator) -> None:
    operator.delete()


def made_anew(operator: Operator) -> None:
    operator.make_anew(duplicate_window=DUPLICATE_WINDOW_NS)


@pytest.mark.parametrize("remove", [purged, deleted, made_anew])
@pytest.mark.parametrize(("seed", "times"), [(1, 3), pytest.param(2, 20, marks=SOAK)])
def test_removed_messages_are_the_only_ones_missing(
    deploy: Deploy, remove: Callable[[Operator], None], seed: int, times: int
) -> None:
    """A stream that was emptied goes on with the next event, within seconds.

    Also when it was created anew with other subjects and without what batches need, which the
    connector adds.
    """
    rng = random.Random(seed)
    deployment = deploy()
    connector = deployment.start_ready()
    with deployment.writer(seed=seed) as writer:
        for number in range(1, times + 1):
            connector.run_for(rng.uniform(0.2, 2))
            print(f"{number} of {times}: {remove.__name__}")  # noqa: T201 - shown with a failure
            published = connector.counted("events_published")
            remove(operator_of(deployment))
            wait_until(
                lambda published=published: connector.counted("events_published") > published + 50,
                timeout_s=STALL_S,
                what="events to be published again",
            )
    check_rest(deployment, connector)


# --- what is refused --------------------------------------------------------------------------
