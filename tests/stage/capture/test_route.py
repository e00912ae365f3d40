"""A route: from a reader to a lane, in order, bounded in bytes."""

from __future__ import annotations

import random
from collections.abc import Sequence

import pytest
import trio
from tests.fakes.values import event, events, token
from tests.fakes.virtual_time import virtual_time
from trio.testing import wait_all_tasks_blocked

from mnc.capture.budget import ByteBudget
from mnc.capture.route import Route
from mnc.errors import SourceUnavailableError
from mnc.model import EncodedEvent

_ROOMY = 10**9
_EVENT_BYTES = event(1).size_bytes


def _route(budget: ByteBudget | None = None) -> Route:
    account = (budget or ByteBudget(_ROOMY)).open_account()
    return Route(collection="users", frontier=token(0), account=account)


async def _take(
    route: Route, *, max_events: int = 100, max_bytes: int = _ROOMY
) -> Sequence[EncodedEvent]:
    return await route.take(max_events=max_events, max_bytes=max_bytes)


# --- taking --------------------------------------------------------------------------------------


@virtual_time
async def test_events_leave_in_the_order_of_delivery() -> None:
    """What is taken is what was delivered, in order, over any number of calls."""
    route = _route()
    await route.deliver(events(1, 3))
    await route.deliver(events(4, 5))
    assert [*await _take(route, max_events=2), *await _take(route)] == events(1, 5)


@virtual_time
async def test_a_batch_keeps_to_both_bounds() -> None:
    """A batch has at most so many events and bytes."""
    route = _route()
    await route.deliver(events(1, 10))
    assert await _take(route, max_events=3) == events(1, 3)
    assert await _take(route, max_bytes=4 * _EVENT_BYTES) == events(4, 7)
    assert await _take(route, max_bytes=3 * _EVENT_BYTES - 1) == events(8, 9)


@virtual_time
async def test_an_event_over_the_bound_goes_alone() -> None:
    """A batch has at least one event, however large that is, and then no other."""
    route = _route()
    large = event(2, payload=b"." * 1000)
    await route.deliver([event(1), large, event(3)])
    assert await _take(route, max_bytes=_EVENT_BYTES) == [event(1)]
    assert await _take(route, max_bytes=_EVENT_BYTES) == [large]
    assert await _take(route, max_bytes=_EVENT_BYTES) == [event(3)]


@virtual_time
async def test_taking_waits_for_a_delivery() -> None:
    """A lane that is ahead waits, and gets what comes."""
    route = _route()
    taken: list[EncodedEvent] = []

    async def take() -> None:
        taken.extend(await _take(route))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(take)
        await wait_all_tasks_blocked()
        route.reach(token(5))  # no event, so no reason to wake
        await wait_all_tasks_blocked()
        assert taken == []
        await route.deliver(events(6, 7))
    assert taken == events(6, 7)


@virtual_time
async def test_a_cancelled_take_takes_nothing() -> None:
    """Cancelled while it waits, a lane has taken nothing."""
    route = _route()
    with trio.move_on_after(1) as scope:
        await _take(route)
    assert scope.cancelled_caught
    await route.deliver(events(1, 2))
    assert await _take(route) == events(1, 2)


# --- the frontier --------------------------------------------------------------------------------


@virtual_time
async def test_the_frontier_is_the_last_event_delivered() -> None:
    """Delivering moves the frontier to the last event, and reaching beyond it."""
    route = _route()
    await route.deliver(events(1, 3))
    assert route.frontier == token(3)
    route.reach(token(7))
    assert route.frontier == token(7)


@virtual_time
async def test_the_frontier_never_goes_back() -> None:
    """A reader that began earlier reaches less far than the route has come."""
    route = _route()
    route.reach(token(7))
    route.reach(token(3))
    assert route.frontier == token(7)


# --- bytes ---------------------------------------------------------------------------------------


@virtual_time
async def test_a_route_is_settled_when_all_it_got_is_stored() -> None:
    """Bytes count from the delivery to the settling, also while a batch is taken."""
    budget = ByteBudget(_ROOMY)
    route = _route(budget)
    settled = [route.is_settled]
    await route.deliver(events(1, 2))
    assert budget.statistics().used_bytes == 2 * _EVENT_BYTES
    settled.append(route.is_settled)
    taken = await _take(route)
    settled.append(route.is_settled)
    route.settle(taken)
    settled.append(route.is_settled)
    assert settled == [True, False, False, True]
    assert budget.statistics().used_bytes == 0


@virtual_time
async def test_delivery_waits_for_room() -> None:
    """A lane that has its share holds the reader back, until it has settled enough."""
    budget = ByteBudget(6 * _EVENT_BYTES)
    route = _route(budget)
    await route.deliver(events(1, 3))
    done = trio.Event()

    async def deliver() -> None:
        await route.deliver(events(4, 5))
        done.set()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(deliver)
        await wait_all_tasks_blocked()
        assert not done.is_set()
        assert route.frontier == token(3)
        taken = await _take(route)
        assert taken == events(1, 3)
        route.settle(taken)
    assert route.frontier == token(5)
    assert await _take(route) == events(4, 5)


@virtual_time
async def test_a_large_delivery_flows_before_all_of_it_fits() -> None:
    """More than the budget holds passes in pieces, as the lane settles them."""
    budget = ByteBudget(1024 * 1024)
    route = _route(budget)
    large = [event(number, payload=b"." * 100_000) for number in range(1, 101)]
    stored: list[EncodedEvent] = []

    async def drain() -> None:
        while len(stored) < len(large):
            taken = await _take(route, max_events=3)
            assert budget.statistics().used_bytes <= 1024 * 1024
            await trio.sleep(0.01)
            stored.extend(taken)
            route.settle(taken)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(drain)
        await route.deliver(large)
    assert stored == large
    assert route.is_settled


@virtual_time
async def test_a_cancelled_delivery_has_delivered_a_prefix() -> None:
    """Cancelled while it waits for room, a reader finds from the frontier where to go on."""
    large = [event(number, payload=b"." * 200_000) for number in range(1, 6)]
    route = _route(ByteBudget(1_400_000))
    with trio.move_on_after(1) as scope:
        await route.deliver(large)
    assert scope.cancelled_caught
    assert route.frontier == token(3)
    taken = await _take(route)
    assert taken == large[:3]
    route.settle(taken)
    await route.deliver([it for it in large if it.token > route.frontier])
    assert await _take(route) == large[3:]


# --- ends ----------------------------------------------------------------------------------------


@virtual_time
async def test_an_ended_route_drains() -> None:
    """After the end, what was delivered is still taken; then there is nothing more."""
    route = _route()
    await route.deliver(events(1, 3))
    route.end()
    assert not route.is_open
    assert await _take(route, max_events=2) == events(1, 2)
    assert await _take(route) == events(3, 3)
    assert await _take(route) == ()
    assert await _take(route) == ()


@virtual_time
async def test_an_error_comes_after_what_was_delivered() -> None:
    """A route that ended with an error drains too, and then raises it."""
    route = _route()
    await route.deliver(events(1, 2))
    route.end(SourceUnavailableError("away"))
    assert await _take(route) == events(1, 2)
    for _ in range(2):
        with pytest.raises(SourceUnavailableError):
            await _take(route)


@virtual_time
async def test_the_first_end_counts() -> None:
    """A later end adds no error, and takes none away."""
    route = _route()
    route.end()
    route.end(SourceUnavailableError("away"))
    assert await _take(route) == ()
    route = _route()
    route.end(SourceUnavailableError("away"))
    route.end()
    with pytest.raises(SourceUnavailableError):
        await _take(route)


@pytest.mark.parametrize("error", [None, SourceUnavailableError("away")])
@virtual_time
async def test_an_end_wakes_who_takes(error: SourceUnavailableError | None) -> None:
    """A lane that waits for events hears of the end."""
    route = _route()
    ends: list[object] = []

    async def take() -> None:
        try:
            ends.append(await _take(route))
        except SourceUnavailableError as raised:
            ends.append(raised)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(take)
        await wait_all_tasks_blocked()
        route.end(error)
    assert ends == [error or ()]


@virtual_time
async def test_closing_drops_everything() -> None:
    """A closed route gives its bytes back and holds no event."""
    budget = ByteBudget(_ROOMY)
    route = _route(budget)
    await route.deliver(events(1, 3))
    taken = await _take(route, max_events=1)
    route.close()
    assert budget.statistics().used_bytes == 0
    assert not route.is_open
    assert await _take(route) == ()
    route.settle(taken)  # too late to count
    route.close()
    assert budget.statistics().used_bytes == 0


@virtual_time
async def test_closing_lets_the_reader_go() -> None:
    """A reader that waits for room is let go, and its frontier says what wasn't delivered."""
    route = _route(ByteBudget(6 * _EVENT_BYTES))
    await route.deliver(events(1, 3))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(route.deliver, events(4, 6))
        await wait_all_tasks_blocked()
        route.close()
    assert route.frontier == token(3)


@virtual_time
async def test_delivery_to_an_ended_route_is_dropped() -> None:
    """Nothing enters after the end, and the frontier stays."""
    route = _route()
    await route.deliver(events(1, 2))
    route.end()
    await route.deliver(events(3, 4))
    assert route.frontier == token(2)
    assert await _take(route) == events(1, 2)


@pytest.mark.parametrize("seed", range(20))
@virtual_time
async def test_nothing_is_lost_or_doubled_in_any_schedule(seed: int) -> None:
    """Random sizes, pauses and cancelled deliveries: the lane gets each event once, in order."""
    rng = random.Random(seed)
    budget = ByteBudget(600_000)
    route = _route(budget)
    sizes = [0, 100, 10_000, 300_000]
    committed = [event(number, payload=b"." * rng.choice(sizes)) for number in range(1, 60)]
    stored: list[EncodedEvent] = []

    async def read() -> None:
        while rest := [it for it in committed if it.token > route.frontier]:
            with trio.move_on_after(rng.uniform(0, 3)):
                await route.deliver(rest[: rng.randint(1, 20)])
            await trio.sleep(rng.random())
        route.end()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(read)
        while taken := await _take(
            route, max_events=rng.randint(1, 10), max_bytes=rng.choice([1000, 10**6])
        ):
            await trio.sleep(rng.random())
            stored.extend(taken)
            route.settle(taken)
    assert stored == committed
    assert budget.statistics().used_bytes == 0
