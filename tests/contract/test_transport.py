"""What every network between instances does, fake or real."""

from __future__ import annotations

import trio
from tests.contract.transports import TransportHarness

from mnc.cluster.messages import ClusterMessage, GroupId, Hello, Probe, Propose
from mnc.cluster.ports import Arrival, Heard, Transport, Unreachable
from mnc.raft import NodeId

_A, _B, _C = NodeId("a"), NodeId("b"), NodeId("c")
_GROUP = GroupId("g1")
_QUIET_S = 0.2
"""For how long nothing may come when nothing should."""


def _hello(sender: NodeId) -> Hello:
    return Hello(sender=sender, name="pod", group=None, last_term=0, last_index=0, leaderless_s=0.5)


def _proposal(number: int, *, sender: NodeId = _A, receiver: NodeId = _B) -> Propose:
    return Propose(sender=sender, receiver=receiver, command=b"%d" % number)


def _heard(message: ClusterMessage, group: GroupId | None = _GROUP) -> Heard:
    return Heard(message=message, group=group)


async def _rest(transport: Transport) -> list[Arrival]:
    """Return what arrives until it is quiet."""
    arrivals = []
    while True:
        with trio.move_on_after(_QUIET_S) as scope:
            arrivals.append(await transport.arrivals.receive())
        if scope.cancelled_caught:
            return arrivals


async def _wait_unreachable(transport: Transport, *, sender: NodeId, receiver: NodeId) -> None:
    """Send until the receiver is reported; a real network doesn't at first."""
    while True:
        await transport.send([Probe(sender=sender, receiver=receiver)], group=_GROUP)
        with trio.move_on_after(_QUIET_S):
            while await transport.arrivals.receive() != Unreachable(node=receiver):
                pass
            return


async def test_message_reaches_its_receiver_alone(transports: TransportHarness) -> None:
    """What is for one instance arrives there with the sender's group, and nowhere else."""
    a, b, c = [await transports.connect(node) for node in (_A, _B, _C)]
    await a.send([_proposal(1)], group=_GROUP)
    assert await b.arrivals.receive() == _heard(_proposal(1))
    assert [await _rest(each) for each in (a, b, c)] == [[], [], []]


async def test_hello_reaches_everybody_else(transports: TransportHarness) -> None:
    """Hello arrives at all other instances, and not at the one that says it."""
    a, b, c = [await transports.connect(node) for node in (_A, _B, _C)]
    await a.send([_hello(_A)], group=None)
    heard = _heard(_hello(_A), None)
    assert [await _rest(each) for each in (a, b, c)] == [[], [heard], [heard]]


async def test_order_is_kept(transports: TransportHarness) -> None:
    """What one sends to another arrives in the order of sending, within a call and over calls."""
    a, b = await transports.connect(_A), await transports.connect(_B)
    proposals = [_proposal(number) for number in range(100)]
    await a.send(proposals[:50], group=_GROUP)
    await a.send(proposals[50:], group=_GROUP)
    arrived = [await b.arrivals.receive() for _ in proposals]
    assert arrived == [_heard(each) for each in proposals]


async def test_one_that_is_not_there_is_unreachable(transports: TransportHarness) -> None:
    """Sending to nobody is reported to the sender, and to nobody else."""
    a, b = await transports.connect(_A), await transports.connect(_B)
    await _wait_unreachable(a, sender=_A, receiver=_C)
    assert await _rest(b) == []


async def test_one_that_has_gone_is_unreachable_until_it_is_back(
    transports: TransportHarness,
) -> None:
    """An instance is unreachable from when its connection ends to when a new one is there."""
    a = await transports.connect(_A)
    await transports.connect(_B)
    await transports.disconnect(_B)
    await _wait_unreachable(a, sender=_A, receiver=_B)
    b = await transports.connect(_B)
    await _rest(a)
    await a.send([_proposal(1)], group=_GROUP)
    assert await b.arrivals.receive() == _heard(_proposal(1))
    assert await _rest(a) == []


async def test_nobody_hears_the_disconnected(transports: TransportHarness) -> None:
    """Sending without a connection does nothing, and is no error."""
    a, b = await transports.connect(_A), await transports.connect(_B)
    await transports.disconnect(_A)
    await a.send([_proposal(1), _hello(_A)], group=_GROUP)
    assert await _rest(b) == []


async def test_what_does_not_fit_is_dropped(transports: TransportHarness) -> None:
    """A receiver that is late keeps the first messages, holds up nobody, and hears later ones."""
    a, b = await transports.connect(_A), await transports.connect(_B)
    proposals = [_proposal(number) for number in range(1000)]
    await a.send(proposals, group=_GROUP)
    await _rest(a)
    arrived = await _rest(b)
    assert 1 <= len(arrived) < len(proposals)
    assert arrived == [_heard(each) for each in proposals[: len(arrived)]]
    await a.send([_proposal(1)], group=_GROUP)
    assert await b.arrivals.receive() == _heard(_proposal(1))


async def test_hellos_leave_room_for_members(transports: TransportHarness) -> None:
    """However many say Hello, messages of the group still find room."""
    a, b = await transports.connect(_A), await transports.connect(_B)
    await a.send([_hello(_A)] * 1000, group=None)
    await _rest(a)
    await a.send([_proposal(1)], group=_GROUP)
    await _rest(a)
    assert (await _rest(b))[-1] == _heard(_proposal(1))


async def test_sending_nothing_is_allowed(transports: TransportHarness) -> None:
    """No message is a message less."""
    a = await transports.connect(_A)
    await a.send([], group=None)
    assert await _rest(a) == []


async def test_cancelled_sending_leaves_the_transport_usable(
    transports: TransportHarness,
) -> None:
    """Cancelled, some messages may be sent; the next ones are."""
    a, b = await transports.connect(_A), await transports.connect(_B)
    with trio.CancelScope() as scope:
        scope.cancel()
        await a.send([_proposal(1)], group=_GROUP)
    await a.send([_proposal(2)], group=_GROUP)
    assert (await _rest(b))[-1] == _heard(_proposal(2))
