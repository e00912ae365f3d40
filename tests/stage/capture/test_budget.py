"""The byte budget: what is held stays bounded, and waiting is fair."""

from __future__ import annotations

import random

import pytest
import trio
from tests.fakes.virtual_time import virtual_time
from trio.testing import wait_all_tasks_blocked

from mnc.capture.budget import Account, BudgetStatistics, ByteBudget

_LIMIT = 100


async def _reserve_into(log: list[str], name: str, account: Account, size_bytes: int) -> None:
    await account.reserve(size_bytes)
    log.append(name)


@virtual_time
async def test_what_fits_is_admitted_at_once() -> None:
    """Reservations pass as long as their sum is within the limit."""
    budget = ByteBudget(_LIMIT)
    first, second = budget.open_account(), budget.open_account()
    await first.reserve(60)
    await second.reserve(40)
    assert budget.statistics() == BudgetStatistics(limit_bytes=100, used_bytes=100, waiting=0)
    assert (first.held_bytes, second.held_bytes) == (60, 40)


@virtual_time
async def test_what_does_not_fit_waits_for_a_release() -> None:
    """A reservation over the limit waits until enough is given back."""
    budget = ByteBudget(_LIMIT)
    account = budget.open_account()
    log: list[str] = []
    await account.reserve(80)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_reserve_into, log, "waiting", account, 50)
        await wait_all_tasks_blocked()
        assert budget.statistics().waiting == 1
        account.release(20)
        await wait_all_tasks_blocked()
        assert log == []
        account.release(10)
    assert log == ["waiting"]
    assert budget.statistics() == BudgetStatistics(limit_bytes=100, used_bytes=100, waiting=0)


@virtual_time
async def test_waiting_is_first_come_first_served() -> None:
    """A small reservation doesn't overtake a large one that came before it."""
    budget = ByteBudget(_LIMIT)
    holder = budget.open_account()
    log: list[str] = []
    await holder.reserve(90)
    async with trio.open_nursery() as nursery:
        for name, size_bytes in (("large", 50), ("small", 5)):
            nursery.start_soon(_reserve_into, log, name, budget.open_account(), size_bytes)
            await wait_all_tasks_blocked()
        assert log == []  # 5 bytes would fit
        holder.release(40)
        await wait_all_tasks_blocked()
        assert log == ["large"]
        holder.release(50)
    assert log == ["large", "small"]


@virtual_time
async def test_what_is_larger_than_the_budget_passes_alone() -> None:
    """An oversize reservation waits until nothing else is held, then keeps everybody out."""
    budget = ByteBudget(_LIMIT)
    first, large, last = (budget.open_account() for _ in range(3))
    log: list[str] = []
    await first.reserve(1)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_reserve_into, log, "large", large, 500)
        await wait_all_tasks_blocked()
        nursery.start_soon(_reserve_into, log, "last", last, 1)
        await wait_all_tasks_blocked()
        first.release(1)
        await wait_all_tasks_blocked()
        assert log == ["large"]
        assert budget.statistics().used_bytes == 500
        large.release(500)
    assert log == ["large", "last"]


@virtual_time
async def test_closing_gives_everything_back() -> None:
    """A closed account holds nothing, and what it held admits those who wait."""
    budget = ByteBudget(_LIMIT)
    closed, other = budget.open_account(), budget.open_account()
    log: list[str] = []
    await closed.reserve(100)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_reserve_into, log, "other", other, 100)
        await wait_all_tasks_blocked()
        closed.close()
    assert log == ["other"]
    assert closed.held_bytes == 0
    closed.close()  # once more changes nothing
    closed.release(100)  # a late release gives back nothing
    assert budget.statistics().used_bytes == 100


@virtual_time
async def test_closing_wakes_who_waits_on_the_account() -> None:
    """A waiter of a closed account ends with an error, and no longer stands in others' way."""
    budget = ByteBudget(_LIMIT)
    holder, closed, other = (budget.open_account() for _ in range(3))
    log: list[str] = []

    async def wait_in_vain() -> None:
        with pytest.raises(trio.ClosedResourceError):
            await closed.reserve(50)
        log.append("closed")

    await holder.reserve(80)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(wait_in_vain)
        await wait_all_tasks_blocked()
        nursery.start_soon(_reserve_into, log, "other", other, 20)
        await wait_all_tasks_blocked()
        assert log == []
        closed.close()
    assert sorted(log) == ["closed", "other"]
    assert budget.statistics() == BudgetStatistics(limit_bytes=100, used_bytes=100, waiting=0)


@virtual_time
async def test_an_account_closed_as_it_is_admitted_holds_nothing() -> None:
    """Closed between being admitted and going on, a reservation ends with an error."""
    budget = ByteBudget(_LIMIT)
    holder, closed = budget.open_account(), budget.open_account()

    async def wait_in_vain() -> None:
        with pytest.raises(trio.ClosedResourceError):
            await closed.reserve(50)

    await holder.reserve(100)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(wait_in_vain)
        await wait_all_tasks_blocked()
        holder.release(100)
        assert closed.held_bytes == 50
        closed.close()
    assert budget.statistics() == BudgetStatistics(limit_bytes=100, used_bytes=0, waiting=0)


@virtual_time
async def test_a_closed_account_reserves_nothing() -> None:
    """Reserving on a closed account is an error at once."""
    account = ByteBudget(_LIMIT).open_account()
    account.close()
    with pytest.raises(trio.ClosedResourceError):
        await account.reserve(1)


@virtual_time
async def test_a_cancelled_reservation_holds_nothing() -> None:
    """Cancelled while it waits, a reservation leaves the queue and lets the next one pass."""
    budget = ByteBudget(_LIMIT)
    holder, cancelled, other = (budget.open_account() for _ in range(3))
    log: list[str] = []
    await holder.reserve(80)
    async with trio.open_nursery() as nursery:
        with trio.CancelScope() as scope:
            async with trio.open_nursery() as inner:
                inner.start_soon(cancelled.reserve, 50)
                await wait_all_tasks_blocked()
                nursery.start_soon(_reserve_into, log, "other", other, 20)
                await wait_all_tasks_blocked()
                assert log == []
                scope.cancel()
    assert log == ["other"]
    assert cancelled.held_bytes == 0
    assert budget.statistics() == BudgetStatistics(limit_bytes=100, used_bytes=100, waiting=0)


@virtual_time
async def test_a_reservation_cancelled_as_it_is_admitted_holds_nothing() -> None:
    """Cancelled between being admitted and going on, a reservation is given back."""
    budget = ByteBudget(_LIMIT)
    holder, cancelled = budget.open_account(), budget.open_account()
    await holder.reserve(100)
    with trio.CancelScope() as scope:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(cancelled.reserve, 100)
            await wait_all_tasks_blocked()
            scope.cancel()
            holder.release(100)
            assert cancelled.held_bytes in (0, 100)
    assert cancelled.held_bytes == 0
    assert budget.statistics() == BudgetStatistics(limit_bytes=100, used_bytes=0, waiting=0)


async def _reserve_cancelled(account: Account) -> None:
    with trio.CancelScope() as scope:
        scope.cancel()
        await account.reserve(10)
    assert scope.cancelled_caught


@virtual_time
async def test_a_reservation_is_a_checkpoint() -> None:
    """Reserving in a cancelled scope never passes, even when there is room."""
    budget = ByteBudget(_LIMIT)
    account = budget.open_account()
    await _reserve_cancelled(account)
    assert account.held_bytes == 0


def test_an_account_gives_back_at_most_what_it_holds() -> None:
    """Releasing more than is held is a programming error."""
    account = ByteBudget(_LIMIT).open_account()
    with pytest.raises(ValueError, match="at most what it holds"):
        account.release(1)


@pytest.mark.parametrize("limit", [0, -1])
def test_a_budget_holds_at_least_a_byte(limit: int) -> None:
    """A budget of nothing is a programming error."""
    with pytest.raises(ValueError, match="at least one byte"):
        ByteBudget(limit)


@pytest.mark.parametrize("seed", range(30))
@virtual_time
async def test_invariants_hold_in_any_schedule(seed: int) -> None:
    """Whoever reserves, releases, cancels and closes when: the sum is right, bounded, and drains.

    Every reservation ends, and none is admitted before one that came earlier.
    """
    rng = random.Random(seed)
    budget = ByteBudget(_LIMIT)
    accounts = [budget.open_account() for _ in range(4)]
    arrivals: list[int] = []
    admitted_at: dict[int, float] = {}

    def check() -> None:
        used = budget.statistics().used_bytes
        assert used == sum(account.held_bytes for account in accounts)
        assert used <= _LIMIT or sum(account.held_bytes > 0 for account in accounts) == 1

    async def use(number: int, account: Account) -> None:
        size_bytes = rng.choice([1, 10, 40, 90, 250])
        await trio.sleep(rng.random())
        with trio.move_on_after(rng.choice([0.1, 100.0])):
            arrivals.append(number)
            try:
                await account.reserve(size_bytes)
            except trio.ClosedResourceError:
                return
            admitted_at[number] = trio.current_time()
            check()
            with trio.CancelScope(shield=True):
                await trio.sleep(rng.random())
            account.release(0 if account.is_closed else size_bytes)
            check()

    async def close(account: Account) -> None:
        await trio.sleep(rng.uniform(0, 3))
        account.close()
        check()

    async with trio.open_nursery() as nursery:
        for number in range(60):
            nursery.start_soon(use, number, rng.choice(accounts))
        nursery.start_soon(close, accounts[0])
    times = [admitted_at[number] for number in arrivals if number in admitted_at]
    assert times == sorted(times)
    assert budget.statistics() == BudgetStatistics(limit_bytes=100, used_bytes=0, waiting=0)
