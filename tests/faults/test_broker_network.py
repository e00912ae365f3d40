"""A bad network on the way to the broker delays events, and nothing else.

The connector alone sits behind the proxy; the oracle asks the broker directly.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence

import pytest
from tests.deployment import Deploy, Deployment
from tests.injection.addresses import nats_url
from tests.injection.faults import (
    BOTH_WAYS,
    Cut,
    Delay,
    Heal,
    Hold,
    LinkFault,
    Refuse,
    Swallow,
    Throttle,
)
from tests.injection.play import play
from tests.injection.script import FaultKind, generate
from tests.injection.thread import ThreadedProxy, threaded
from tests.waiting import wait_until

from mnc.embedded.servers import NatsServerProcess

SOAK = (pytest.mark.soak, pytest.mark.timeout(1800))

STALL_S = 5
"""After how long without publishing the connector says that it isn't ready."""

BULK = 200
TEXT_BYTES = 700
BATCH_BYTES = BULK * (TEXT_BYTES + 600)
"""More than `BULK` documents with so much text take on the way, as events of one batch."""

ACK_BYTES = 120
"""About what an acknowledgement takes on the way."""


def mid_batch(rng: random.Random) -> LinkFault:
    reset = rng.random() < 0.5
    return Cut(after_bytes=rng.randrange(BATCH_BYTES), direction="to_server", reset=reset)


def mid_ack(rng: random.Random) -> LinkFault:
    reset = rng.random() < 0.5
    return Cut(after_bytes=rng.randrange(ACK_BYTES), direction="to_client", reset=reset)


def refused(_: random.Random) -> LinkFault:
    return Refuse()


def held(rng: random.Random) -> LinkFault:
    return Hold(directions=rng.choice((BOTH_WAYS, ("to_server",), ("to_client",))))


def swallowed(rng: random.Random) -> LinkFault:
    return Swallow(directions=rng.choice((BOTH_WAYS, ("to_server",), ("to_client",))))


def delayed(rng: random.Random) -> LinkFault:
    delay_s = rng.uniform(0.01, 0.3)
    return Delay(delay_s=delay_s, jitter_s=rng.uniform(0, delay_s))


def throttled(rng: random.Random) -> LinkFault:
    return Throttle(bytes_per_s=rng.uniform(20_000, 500_000))


def kind(draw: Callable[[random.Random], LinkFault], lasts_s: tuple[float, float]) -> FaultKind:
    return FaultKind(target="link", draw=draw, lasts_s=lasts_s, end=Heal())


KINDS = (
    kind(mid_batch, (0.1, 1.0)),
    kind(mid_ack, (0.1, 1.0)),
    kind(refused, (0.1, 1.0)),
    kind(held, (0.1, 5.0)),
    kind(swallowed, (0.1, 5.0)),
    kind(delayed, (0.5, 3.0)),
    kind(throttled, (0.5, 3.0)),
)


@pytest.fixture
def link(nats_server: NatsServerProcess) -> Iterator[ThreadedProxy]:
    """Put a proxy before the session's broker."""
    with threaded(nats_server.port, seed=1) as proxy:
        yield proxy


def deploy_behind(link: ThreadedProxy, deploy: Deploy) -> Deployment:
    """Make a deployment whose connectors go through the proxy."""
    return deploy(NATS_SERVER_URL=nats_url(link.port), NATS_ACK_TIMEOUT_S="1")


def insert_bulk(deployment: Deployment) -> int:
    """Insert what makes a large batch for each collection; return the number of events."""
    for name in deployment.collections:
        deployment.db[name].insert_many({"text": "x" * TEXT_BYTES} for _ in range(BULK))
    return BULK * len(deployment.collections)


@pytest.mark.parametrize("draw", [mid_batch, mid_ack])
@pytest.mark.parametrize(
    ("seed", "cuts"), [(1, 10), *(pytest.param(seed, 100, marks=SOAK) for seed in (2, 3))]
)
def test_cuts_leave_the_stream_exact(
    deploy: Deploy,
    link: ThreadedProxy,
    draw: Callable[[random.Random], LinkFault],
    seed: int,
    cuts: int,
) -> None:
    """A connection may break at any byte of a batch or of its acknowledgement.

    Wherever that is, no event is lost or doubled, and the connector goes on by itself.
    """
    rng = random.Random(seed)
    deployment = deploy_behind(link, deploy)
    connector = deployment.start_ready()
    bulk_events = 0
    with deployment.writer(seed=seed) as writer:
        for number in range(1, cuts + 1):
            cut = draw(rng)
            print(f"{number} of {cuts}: {cut}")  # noqa: T201 - pytest shows it with a failure
            link.inject(cut)
            bulk_events += insert_bulk(deployment)
            wait_until(
                lambda number=number: link.statistics().cuts == number,
                timeout_s=20,
                what=f"{cut} to happen",
            )
    deployment.finish(writer.events + bulk_events)
    assert connector.log("publish.retrying")
    if draw is mid_ack:
        assert connector.log("publish.recovered"), "no batch was stored without an answer"


@pytest.mark.parametrize(
    "fault",
    [
        Hold(directions=("to_server",)),
        Hold(directions=("to_client",)),
        Swallow(directions=("to_server",)),
        Swallow(directions=("to_client",)),
    ],
    ids=str,
)
def test_black_hole_is_reported_and_waited_for(
    deploy: Deploy, link: ThreadedProxy, fault: LinkFault
) -> None:
    """A network that passes nothing one way stops the connector, which says so, until it heals.

    It outlives the time-out of an acknowledgement, so that batches are in doubt.
    """
    deployment = deploy_behind(link, deploy)
    connector = deployment.start_ready()
    with deployment.writer(seed=1) as writer:
        writer.wait_for_events(100)
        link.inject(fault)
        connector.wait_not_ready("has not been able to publish", timeout_s=STALL_S + 10)
        assert connector.get("/health").json()["nats"] == "DOWN"
        link.inject(Heal())
        connector.wait_ready(timeout_s=20)
        writer.wait_for_events(100)
    deployment.finish(writer.events)
    assert not connector.log("lane.failed")


def test_delayed_link_costs_time_alone(deploy: Deploy, link: ThreadedProxy) -> None:
    """With a broker far away batches take longer and grow, and none is ever in doubt."""
    deployment = deploy_behind(link, deploy)
    link.inject(Delay(delay_s=0.05, jitter_s=0.02))
    connector = deployment.start_ready()
    with deployment.writer(seed=1) as writer:
        writer.wait_for_events(1000)
    deployment.finish(writer.events)
    assert not connector.log("publish.retrying")
    assert not connector.log("lane.failed")


def test_throttled_link_costs_time_alone(deploy: Deploy, link: ThreadedProxy) -> None:
    """Events wait for a link that is slower than the writes, and all arrive."""
    deployment = deploy_behind(link, deploy)
    connector = deployment.start_ready()
    link.inject(Throttle(bytes_per_s=300_000))
    with deployment.writer(seed=1) as writer:
        writer.wait_for_events(500)
        bulk_events = insert_bulk(deployment)
    deployment.finish(writer.events + bulk_events)
    assert not connector.log("lane.failed")


def test_large_batch_gets_through_a_slow_link(deploy: Deploy, link: ThreadedProxy) -> None:
    """A link that needs longer for a batch than an acknowledgement may take is slow, not stuck."""
    deployment = deploy_behind(link, deploy)
    connector = deployment.start_ready()
    link.inject(Throttle(bytes_per_s=100_000))
    events = insert_bulk(deployment) + insert_bulk(deployment)
    wait_until(
        lambda: connector.counted("events_published") == events,
        timeout_s=4 * BATCH_BYTES / 100_000,
        what="the batches to get through",
    )
    deployment.finish(events)


@pytest.mark.parametrize(
    ("kinds", "seed", "faults"),
    [
        (KINDS, 1, 10),
        *(
            pytest.param((each,), 2, 20, marks=SOAK, id=f"{each.draw.__name__}-2-20")
            for each in KINDS
        ),
        *(pytest.param(KINDS, seed, 100, marks=SOAK) for seed in (3, 4)),
    ],
)
def test_faults_at_random_times_leave_the_stream_exact(
    deploy: Deploy, link: ThreadedProxy, kinds: Sequence[FaultKind], seed: int, faults: int
) -> None:
    """Whatever the network does, and when, no event is lost, doubled or misplaced."""
    deployment = deploy_behind(link, deploy)
    connector = deployment.start_ready()
    script = generate(kinds, seed=seed, faults=faults)
    with deployment.writer(seed=seed) as writer:
        play(script, {"link": link}, wait=connector.run_for)
        connector.wait_ready(timeout_s=20)
    deployment.finish(writer.events)
    assert len(connector.log("service.started")) == 1
