"""Messages between instances while processes, brokers and connections come and go."""

from __future__ import annotations

import os
import signal
from uuid import uuid4

import pytest
import trio
from structlog.testing import capture_logs
from tests.injection.processes import freeze, thaw
from tests.integration.instances import Instance, start_child
from tests.servers import StartNatsServer, reload

from mnc.cluster.messages import Hello
from mnc.cluster.ports import Heard, Unreachable
from mnc.embedded.servers import NatsServerProcess
from mnc.raft import NodeId

_A, _B = NodeId("a"), NodeId("b")
_TEST_TIMEOUT_S = 30.0
_PAST_SETTLING_S = 1.2
_NOTICED_S = 0.25
"""A process that died has to be noticed in half of the shortest election time-out. It takes a few
milliseconds; the rest is for a machine that is busy with other tests."""

_QUIET_S = 0.5
_MAX_PAYLOAD_BYTES = 1024 * 1024

_DENYING = """
authorization: { users: [{ user: mnc, password: mnc, permissions: { %s } }] }
"""
_ALL = 'publish: ">", subscribe: ">"'


@pytest.fixture
def cluster() -> str:
    """Name a cluster that no other test uses."""
    return f"test-{uuid4().hex[:12]}"


async def _wait_stranger(instance: Instance, *, hears: Instance | None = None) -> None:
    while not instance.transport.strangers:
        if hears is not None:
            await hears.say_hello()
        await trio.sleep(0.02)


# --- processes ------------------------------------------------------------------------------------


async def test_killed_process_is_noticed_at_once(
    nats_server: NatsServerProcess, cluster: str, nursery: trio.Nursery
) -> None:
    """After kill -9 the broker tells whoever sends to the process, long before an election."""
    with trio.fail_after(_TEST_TIMEOUT_S), start_child(nats_server.url, cluster, _B) as child:
        a = Instance(url=nats_server.url, cluster=cluster, node=_A)
        await nursery.start(a.run)
        await trio.sleep(_PAST_SETTLING_S)
        await a.probe(_B)
        await a.settle()
        assert a.arrived() == []
        killed_at = trio.current_time()
        child.kill()
        assert await a.wait_unreachable(_B) - killed_at < _NOTICED_S
        nursery.cancel_scope.cancel()


async def test_frozen_process_is_not_taken_for_gone(
    nats_server: NatsServerProcess, cluster: str, nursery: trio.Nursery
) -> None:
    """A process that stands still is not unreachable: only time tells, by an election time-out."""
    with trio.fail_after(_TEST_TIMEOUT_S), start_child(nats_server.url, cluster, _B) as child:
        a = Instance(url=nats_server.url, cluster=cluster, node=_A)
        await nursery.start(a.run)
        await trio.sleep(_PAST_SETTLING_S)
        os.kill(child.pid, signal.SIGSTOP)
        for _ in range(10):
            await a.probe(_B)
            await a.settle()
        assert a.arrived() == []
        nursery.cancel_scope.cancel()


async def test_one_that_listens_no_more_is_unreachable(
    nats_server: NatsServerProcess, cluster: str, nursery: trio.Nursery
) -> None:
    """Who stops listening is unreachable at once, with its connection still there."""
    with trio.fail_after(_TEST_TIMEOUT_S):
        a = Instance(url=nats_server.url, cluster=cluster, node=_A)
        b = Instance(url=nats_server.url, cluster=cluster, node=_B)
        await nursery.start(a.run)
        await nursery.start(b.session.run)
        async with trio.open_nursery() as listening:
            await listening.start(b.transport.run)
            await b.settle()
            await trio.sleep(_PAST_SETTLING_S)
            await a.probe(_B)
            await a.settle()
            assert a.arrived() == []
            listening.cancel_scope.cancel()
        await b.settle()
        await a.probe(_B)
        await a.settle()
        assert await a.transport.arrivals.receive() == Unreachable(node=_B)
        nursery.cancel_scope.cancel()


# --- connections ----------------------------------------------------------------------------------


async def test_instances_hear_each_other_after_a_restart_of_the_broker(
    start_own_nats: StartNatsServer, cluster: str, nursery: trio.Nursery
) -> None:
    """With a broker that is back, instances are too, and hear each message once."""
    with trio.fail_after(_TEST_TIMEOUT_S):
        server = start_own_nats(jetstream=False)
        a = Instance(url=server.url, cluster=cluster, node=_A)
        b = Instance(url=server.url, cluster=cluster, node=_B)
        await nursery.start(a.run)
        await nursery.start(b.run)
        killed_at_s = trio.current_time()
        server.kill()
        await a.propose(b"lost", receiver=_B)
        start_own_nats(server.data_dir, port=server.port, jetstream=False)
        for each in (a, b):
            await _wait_renewed(each, since_s=killed_at_s)
        await a.propose(b"1", b"2", receiver=_B)
        assert [await b.next_command() for _ in range(2)] == [b"1", b"2"]
        await b.settle()
        assert b.arrived() == []
        nursery.cancel_scope.cancel()


async def _wait_renewed(instance: Instance, *, since_s: float) -> None:
    """Wait for a connection that was made after `since_s`."""
    while not 0 < instance.session.connected_for_s < trio.current_time() - since_s:
        await instance.session.wait_connected()
        await trio.sleep(0.01)
    await instance.settle()


async def test_nobody_is_taken_for_gone_right_after_a_reconnect(
    start_own_nats: StartNatsServer, cluster: str, nursery: trio.Nursery
) -> None:
    """The others get a second to come back, before the broker's word counts again."""
    with trio.fail_after(_TEST_TIMEOUT_S):
        server = start_own_nats(jetstream=False)
        a = Instance(url=server.url, cluster=cluster, node=_A)
        await nursery.start(a.run)
        await a.wait_unreachable(_B)
        killed_at_s = trio.current_time()
        server.kill()
        start_own_nats(server.data_dir, port=server.port, jetstream=False)
        await _wait_renewed(a, since_s=killed_at_s)
        a.arrived()
        await a.wait_unreachable(_B)
        assert a.session.connected_for_s > 1.0
        nursery.cancel_scope.cancel()


async def test_new_client_hears_what_the_old_one_did(
    nats_server: NatsServerProcess, cluster: str, nursery: trio.Nursery
) -> None:
    """When the server closes a client for good, its successor listens, and once to each subject."""
    with trio.fail_after(_TEST_TIMEOUT_S):
        a = Instance(url=nats_server.url, cluster=cluster, node=_A)
        b = Instance(url=nats_server.url, cluster=cluster, node=_B)
        await nursery.start(a.run)
        await nursery.start(b.run)
        await trio.sleep(_PAST_SETTLING_S)
        closed_at_s = trio.current_time()
        # Something that a server answers with -ERR, which closes the client.
        await b.session.call(lambda client: client._send_command(b"NONSENSE\r\n"))
        await b.session.call(lambda client: client._flush_pending())
        await _wait_renewed(b, since_s=closed_at_s)
        await a.say_hello()
        await a.propose(b"1", receiver=_B)
        await a.settle()
        assert await b.next_command() == b"1"
        await b.settle()
        heard = [each.message for each in b.arrived() if isinstance(each, Heard)]
        assert all(isinstance(message, Hello) for message in heard)
        assert b.session._client is not None
        assert len(b.session._client._subs) == 3
        nursery.cancel_scope.cancel()


async def test_frozen_broker_holds_up_nobody(
    start_own_nats: StartNatsServer, cluster: str, nursery: trio.Nursery
) -> None:
    """Sending to a broker that stands still returns at once, and messages flow when it goes on."""
    with trio.fail_after(_TEST_TIMEOUT_S):
        server = start_own_nats(jetstream=False)
        a = Instance(url=server.url, cluster=cluster, node=_A)
        b = Instance(url=server.url, cluster=cluster, node=_B)
        await nursery.start(a.run)
        await nursery.start(b.run)
        freeze(server)
        for number in range(100):
            with trio.fail_after(0.5):
                await a.propose(b"%d" % number + bytes(100_000), receiver=_B)
        thaw(server)
        while True:
            await a.propose(b"now", receiver=_B)
            with trio.move_on_after(_QUIET_S):
                while await b.next_command() != b"now":
                    pass
                break
        nursery.cancel_scope.cancel()


async def test_late_reader_is_counted(
    nats_server: NatsServerProcess, cluster: str, nursery: trio.Nursery
) -> None:
    """What finds no room is counted, and costs no connection."""
    with trio.fail_after(_TEST_TIMEOUT_S):
        a = Instance(url=nats_server.url, cluster=cluster, node=_A)
        b = Instance(url=nats_server.url, cluster=cluster, node=_B)
        await nursery.start(a.run)
        await nursery.start(b.run)
        await a.propose(*(b"%d" % number for number in range(300)), receiver=_B)
        await a.settle()
        await b.settle()
        assert len(b.arrived()) + b.transport.dropped == 300
        assert b.transport.dropped == 300 - 256
        nursery.cancel_scope.cancel()


async def test_message_over_the_limit_is_dropped_alone(
    nats_server: NatsServerProcess, cluster: str, nursery: trio.Nursery
) -> None:
    """A message that the broker wouldn't take is dropped and logged; the others arrive."""
    with trio.fail_after(_TEST_TIMEOUT_S), capture_logs() as logs:
        a = Instance(url=nats_server.url, cluster=cluster, node=_A)
        b = Instance(url=nats_server.url, cluster=cluster, node=_B)
        await nursery.start(a.run)
        await nursery.start(b.run)
        await a.propose(bytes(_MAX_PAYLOAD_BYTES), b"1", receiver=_B)
        assert await b.next_command() == b"1"
        nursery.cancel_scope.cancel()
    [entry] = [entry for entry in logs if entry["event"] == "cluster.message_too_large"]
    assert entry["kind"] == "Propose"


# --- strangers ------------------------------------------------------------------------------------


async def test_instance_of_another_size_is_ignored_and_reported(
    nats_server: NatsServerProcess, cluster: str, nursery: trio.Nursery
) -> None:
    """Who has another RAFT_CLUSTER_SIZE isn't heard; one warning and the status say so."""
    with trio.fail_after(_TEST_TIMEOUT_S), capture_logs() as logs:
        a = Instance(url=nats_server.url, cluster=cluster, node=_A)
        b = Instance(url=nats_server.url, cluster=cluster, node=_B, size=5)
        await nursery.start(a.run)
        await nursery.start(b.run)
        for _ in range(3):
            await b.say_hello()
            await b.propose(b"1", receiver=_A)
        await b.settle()
        await _wait_stranger(a)
        assert a.transport.strangers == {"b": "other size: 5"}
        assert a.arrived() == []
        nursery.cancel_scope.cancel()
    [entry] = [entry for entry in logs if entry["event"] == "cluster.stranger"]
    assert (entry["sender"], entry["reason"]) == ("b", "other size: 5")


async def test_instance_of_another_name_is_not_heard(
    nats_server: NatsServerProcess, cluster: str, nursery: trio.Nursery
) -> None:
    """Clusters of different names share a broker without noticing."""
    with trio.fail_after(_TEST_TIMEOUT_S):
        a = Instance(url=nats_server.url, cluster=cluster, node=_A)
        b = Instance(url=nats_server.url, cluster=f"{cluster}-2", node=_B)
        await nursery.start(a.run)
        await nursery.start(b.run)
        await b.say_hello()
        await b.propose(b"1", receiver=_A)
        await b.settle()
        await a.settle()
        assert a.arrived() == []
        assert a.transport.strangers == {}
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize(
    "permissions",
    [
        'publish: ">", subscribe: "_INBOX.>"',
        'publish: "_INBOX.>", subscribe: ">"',
    ],
    ids=["subscribing", "publishing"],
)
async def test_missing_permission_is_reported_until_it_is_granted(
    start_own_nats: StartNatsServer, cluster: str, nursery: trio.Nursery, permissions: str
) -> None:
    """The status says that the cluster's subjects are denied; granted, they work by themselves."""
    with trio.fail_after(_TEST_TIMEOUT_S), capture_logs() as logs:
        server = start_own_nats(jetstream=False, extra_config=_DENYING % permissions)
        url = server.url.replace("://", "://mnc:mnc@")
        a = Instance(url=url, cluster=cluster, node=_A)
        b = Instance(url=url, cluster=cluster, node=_B)
        await nursery.start(a.run)
        await nursery.start(b.run)
        await _wait_stranger(a, hears=a)
        reason = f"NATS denies mnc.cluster.{cluster}.> to the user of this instance"
        assert a.transport.strangers == {"a": reason}
        reload(server, _DENYING % _ALL)
        while True:
            await a.propose(b"1", receiver=_B)
            with trio.move_on_after(_QUIET_S):
                assert await b.next_command() == b"1"
                break
        while a.transport.strangers:  # noqa: ASYNC110 - a denial is forgotten by and by
            await trio.sleep(0.02)
        nursery.cancel_scope.cancel()
    assert {entry["subject"] for entry in logs if entry["event"] == "nats.permission_denied"} == {
        f"mnc.cluster.{cluster}.>"
    }
