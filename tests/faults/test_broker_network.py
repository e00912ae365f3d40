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
    ONE_WAY,
    Cut,
    Delay,
    Heal,
    Hold,
    LinkFault,
    Refuse,
    Strand,
    Swallow,
    Throttle,
)
from tests.injection.play import play
from tests.injection.script import FaultKind, generate
from tests.injection.thread import ThreadedProxy, threaded
from tests.soak import SOAK
from tests.waiting import wait_until

from mnc.embedded.servers import NatsServerProcess

STALL_S = 5
"""After how long without publishing the connector says that it isn't ready."""

BULK = 200
TEXT_BYTES = 700
BATCH_BYTES = BULK * (TEXT_BYTES + 600)
"""More than so many documents with so much text take on the way, as the events of one batch."""

ACK_BYTES = 120
"""About what an acknowledgement takes on the way."""

Draw = Callable[[random.Random], LinkFault]


def mid_batch(rng: random.Random) -> Cut:
    """Cut on the way to the server, most likely in a batch."""
    reset = rng.random() < 0.5
    return Cut(after_bytes=rng.randrange(BATCH_BYTES), direction="to_server", reset=reset)


def mid_ack(rng: random.Random) -> Cut:
    """Cut on the way back, most likely in an acknowledgement."""
    reset = rng.random() < 0.5
    return Cut(after_bytes=rng.randrange(ACK_BYTES), direction="to_client", reset=reset)


def refused(_: random.Random) -> Refuse:
    """End as a server does that is away for a while."""
    return Refuse(cut=True)


def held(rng: random.Random) -> Hold:
    """Hold one way or both."""
    return Hold(directions=rng.choice((BOTH_WAYS, *ONE_WAY)))


def swallowed(rng: random.Random) -> Swallow:
    """Swallow one way or both."""
    return Swallow(directions=rng.choice((BOTH_WAYS, *ONE_WAY)))


def stranded(_: random.Random) -> Strand:
    """Forget the connection."""
    return Strand()


def delayed(rng: random.Random) -> Delay:
    """Take a longer way."""
    delay_s = round(rng.uniform(0.01, 0.3), 3)
    return Delay(delay_s=delay_s, jitter_s=round(rng.uniform(0, delay_s), 3))


def throttled(rng: random.Random) -> Throttle:
    """Take a narrow way."""
    return Throttle(bytes_per_s=rng.randrange(20_000, 500_000))


def kind(draw: Draw, *lasts_s: float) -> FaultKind:
    """Return a kind of fault of the link that lasts from so long to so long."""
    shortest_s, longest_s = lasts_s
    return FaultKind(target="link", draw=draw, lasts_s=(shortest_s, longest_s), end=Heal())


KINDS = (
    kind(mid_batch, 1, 2),
    kind(mid_ack, 0.1, 1),
    kind(refused, 0.1, 1),
    kind(held, 0.1, 5),
    kind(swallowed, 0.1, 5),
    kind(stranded, 0.1, 5),
    kind(delayed, 0.5, 3),
    kind(throttled, 0.5, 3),
)


@pytest.fixture
def link(nats_server: NatsServerProcess) -> Iterator[ThreadedProxy]:
    """Put a proxy before the session's broker."""
    with threaded(nats_server.port, seed=1) as proxy:
        yield proxy


def deploy_behind(link: ThreadedProxy, deploy: Deploy) -> Deployment:
    """Make a deployment whose connectors go through the proxy."""
    return deploy(NATS_SERVER_URL=nats_url(link.port), NATS_ACK_TIMEOUT_S="1")


def insert_bulk(deployment: Deployment, *, documents: int = BULK, text: int = TEXT_BYTES) -> int:
    """Insert what makes a large batch for each collection; return the number of events."""
    for name in deployment.collections:
        deployment.db[name].insert_many({"text": "x" * text} for _ in range(documents))
    return documents * len(deployment.collections)


def wait_for_cut(link: ThreadedProxy, number: int) -> None:
    """Wait until the cut of this number has happened."""
    wait_until(
        lambda: link.statistics().cuts == number, timeout_s=20, what=f"cut {number} to happen"
    )


@pytest.mark.parametrize("draw", [mid_batch, mid_ack])
@pytest.mark.parametrize(("seed", "rounds"), [(1, 10), pytest.param(2, 100, marks=SOAK)])
def test_cuts_leave_the_stream_exact(
    deploy: Deploy, link: ThreadedProxy, draw: Draw, seed: int, rounds: int
) -> None:
    """A connection may break at any byte of a batch or of its acknowledgement.

    Wherever that is, no event is lost or doubled, and the connector goes on by itself.
    """
    rng = random.Random(seed)
    deployment = deploy_behind(link, deploy)
    connector = deployment.start_ready()
    bulk_events = 0
    with deployment.writer(seed=seed) as writer:
        for number in range(1, rounds + 1):
            cut = draw(rng)
            print(f"{number} of {rounds}: {cut}")  # noqa: T201 - pytest shows it with a failure
            link.inject(cut)
            bulk_events += insert_bulk(deployment)
            wait_for_cut(link, number)
    deployment.finish(writer.events + bulk_events)
    assert connector.log("publish.retrying")
    if draw is mid_ack:
        assert connector.log("publish.recovered"), "no batch was stored without an answer"


@pytest.mark.parametrize(
    "fault",
    [
        Hold(directions=("to_client",)),
        Swallow(directions=("to_server",)),
        pytest.param(Hold(directions=("to_server",)), marks=SOAK),
        pytest.param(Swallow(directions=("to_client",)), marks=SOAK),
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
        writer.wait_for_events(500)
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
    """A link that would need five seconds for a full batch is slow, not stuck."""
    deployment = deploy_behind(link, deploy)
    connector = deployment.start_ready()
    link.inject(Throttle(bytes_per_s=200_000))
    collection = deployment.db[deployment.collections[0]]
    collection.insert_many({"text": "x" * TEXT_BYTES} for _ in range(1000))
    wait_until(
        lambda: connector.counted("events_published") > 300,
        timeout_s=18,
        what="more than a small first batch to get through",
    )
    deployment.finish(1000)


def test_dead_connection_with_unsent_bytes_is_given_up(deploy: Deploy, link: ThreadedProxy) -> None:
    """When the broker's machine is lost and another takes its address, the connector goes there.

    Bytes that the old connection will never take hold nothing up. They have to be more than the
    kernel's buffers hold, so all acknowledgements come late and let large batches form.
    """
    url = nats_url(link.port)
    deployment = deploy(NATS_SERVER_URL=url, collections=("a", "b", "c", "d"))
    connector = deployment.start_ready()
    link.inject(Delay(delay_s=0.5, directions=("to_client",)))
    link.inject(Throttle(bytes_per_s=8_000_000, directions=("to_server",)))
    events = insert_bulk(deployment, documents=600, text=8000)
    wait_until(
        lambda: connector.counted("events_published") > 0, timeout_s=20, what="a first batch"
    )
    sent = link.statistics().bytes_to_server
    wait_until(
        lambda: link.statistics().bytes_to_server > sent + 500_000,
        timeout_s=20,
        what="large batches to be on the way",
    )
    link.inject(Strand())
    published = connector.counted("events_published")
    wait_until(
        lambda: connector.counted("events_published") > published + 500,
        timeout_s=10,
        what="events to be published through another connection",
    )
    link.inject(Heal())
    deployment.finish(events)


@pytest.mark.parametrize(
    ("kinds", "seed", "rounds"),
    [
        pytest.param(KINDS, 1, len(KINDS), id="all"),
        *(pytest.param((each,), 2, 20, id=each.draw.__name__, marks=SOAK) for each in KINDS),
        *(pytest.param(KINDS, seed, 100, id=f"all {seed}", marks=SOAK) for seed in (3,)),
    ],
)
def test_faults_at_random_times_leave_the_stream_exact(
    deploy: Deploy, link: ThreadedProxy, kinds: Sequence[FaultKind], seed: int, rounds: int
) -> None:
    """Whatever the network does, and when, no event is lost, doubled or misplaced."""
    script = generate(kinds, seed=seed, faults=rounds)
    deployment = deploy_behind(link, deploy)
    connector = deployment.start_ready()
    with deployment.writer(seed=seed) as writer:
        play(script, {"link": link}, wait=connector.run_for)
        connector.wait_ready(timeout_s=20)
    deployment.finish(writer.events)
    assert len(connector.log("service.started")) == 1
