"""The byte budget: what is held stays bounded, each lane has its share, and waiting is fair."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st
from tests.fakes.virtual_time import run_in_virtual_time, virtual_time
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
    holder, account = budget.open_account(), budget.open_account()
    log: list[str] = []
    await holder.reserve(80)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_reserve_into, log, "waiting", account, 50)
        await wait_all_tasks_blocked()
        assert budget.statistics().waiting == 1
        holder.release(20)
        await wait_all_tasks_blocked()
        assert log == []
        holder.release(10)
    assert log == ["waiting"]
    assert budget.statistics() == BudgetStatistics(limit_bytes=100, used_bytes=100, waiting=0)


@virtual_time
async def test_who_waits_for_space_is_not_overtaken() -> None:
    """A small reservation doesn't overtake a large one that came before it and would starve."""
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


async def _fill(account: Account) -> None:
    """Reserve bytes one by one until the account's share is exhausted."""
    with trio.move_on_after(1):
        for _ in range(_LIMIT):
            await account.reserve(1)


@virtual_time
async def test_a_lane_holds_at_most_what_is_free() -> None:
    """Alone, a lane that never releases gets half of the budget; the next one half of the rest."""
    budget = ByteBudget(_LIMIT)
    first, second = budget.open_account(), budget.open_account()
    await _fill(first)
    assert first.held_bytes == 50
    assert not first.has_room
    assert second.has_room
    await _fill(second)
    assert second.held_bytes == 25


@virtual_time
async def test_busy_lanes_get_equal_shares() -> None:
    """Two lanes that both want more than there is come to hold a third of the budget each."""
    budget = ByteBudget(_LIMIT)
    accounts = [budget.open_account() for _ in range(2)]

    async def fill(account: Account) -> None:
        while True:
            await account.reserve(1)

    async def settle(account: Account) -> None:
        while True:
            await trio.sleep(0.1)
            account.release(min(account.held_bytes, 1))

    held: list[int] = []
    async with trio.open_nursery() as nursery:
        for account in accounts:
            nursery.start_soon(fill, account)
            nursery.start_soon(settle, account)
            await trio.sleep(10)
            held.append(account.held_bytes)
        held.append(accounts[0].held_bytes)
        nursery.cancel_scope.cancel()
    assert held == pytest.approx([50, 33, 33], abs=1)


@virtual_time
async def test_who_waits_for_its_own_share_holds_up_nobody() -> None:
    """A lane that isn't served leaves the way free for the others, and has its turn later."""
    budget = ByteBudget(_LIMIT)
    stuck, flowing = budget.open_account(), budget.open_account()
    log: list[str] = []
    await stuck.reserve(50)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_reserve_into, log, "stuck", stuck, 10)
        await wait_all_tasks_blocked()
        waits = [stuck.waits_for_share]
        with trio.fail_after(1):
            for _ in range(100):
                await flowing.reserve(20)
                flowing.release(20)
        assert log == []
        stuck.release(20)
        await wait_all_tasks_blocked()
        waits.append(stuck.waits_for_share)
    assert waits == [True, False]
    assert log == ["stuck"]


@virtual_time
async def test_who_holds_nothing_may_take_whatever_fits() -> None:
    """An event larger than a share is no reason to wait, as long as there is room for it."""
    budget = ByteBudget(_LIMIT)
    await budget.open_account().reserve(10)
    large = budget.open_account()
    with trio.fail_after(1):
        await large.reserve(90)
    assert not large.waits_for_share


@virtual_time
async def test_who_waits_for_space_does_not_wait_for_its_share() -> None:
    """What others hold is not the fault of a lane that holds nothing itself."""
    budget = ByteBudget(_LIMIT)
    await budget.open_account().reserve(20)
    large = budget.open_account()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(large.reserve, 90)
        await wait_all_tasks_blocked()
        assert budget.statistics().waiting == 1
        assert not large.waits_for_share
        nursery.cancel_scope.cancel()


@virtual_time
async def test_one_reservation_of_an_account_waits_at_a_time() -> None:
    """A second task that would wait on an account is a programming error."""
    budget = ByteBudget(_LIMIT)
    account = budget.open_account()
    await account.reserve(50)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(account.reserve, 10)
        await wait_all_tasks_blocked()
        with pytest.raises(trio.BusyResourceError):
            await account.reserve(10)
        nursery.cancel_scope.cancel()
    assert account.held_bytes == 50


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


@dataclass(frozen=True, slots=True)
class _Reserve:
    account: int
    size_bytes: int


@dataclass(frozen=True, slots=True)
class _Release:
    account: int
    percent: int
    """How much of what it holds."""


@dataclass(frozen=True, slots=True)
class _Cancel:
    account: int


@dataclass(frozen=True, slots=True)
class _Close:
    account: int


_Step = _Reserve | _Release | _Cancel | _Close

_ACCOUNTS = 4
_ACCOUNT = st.integers(0, _ACCOUNTS - 1)
_STEPS = st.lists(
    st.one_of(
        st.builds(_Reserve, _ACCOUNT, st.sampled_from([1, 10, 26, 40, 90, 250])),
        st.builds(_Release, _ACCOUNT, st.sampled_from([10, 50, 100])),
        st.builds(_Cancel, _ACCOUNT),
        st.builds(_Close, _ACCOUNT),
    ),
    max_size=40,
)


class _Machine:
    """Accounts of one budget, each with at most one task that waits on it."""

    def __init__(self, nursery: trio.Nursery) -> None:
        self._nursery = nursery
        self._budget = ByteBudget(_LIMIT)
        self._accounts = [self._budget.open_account() for _ in range(_ACCOUNTS)]
        self._waiting: dict[int, tuple[int, trio.CancelScope]] = {}
        """For what size each account waits, in the order in which they came."""
        self._admitted: list[int] = []

    async def take(self, step: _Step) -> None:
        """Do one thing, let all that follows happen, and check what has to be true."""
        account = self._accounts[step.account]
        arrived = list(dict.fromkeys([*self._waiting, step.account]))
        self._admitted.clear()
        match step:
            case _Reserve(number, size_bytes):
                if number not in self._waiting and not account.is_closed:
                    self._waiting[number] = size_bytes, trio.CancelScope()
                    self._nursery.start_soon(self._reserve, number)
            case _Release(percent=percent):
                account.release(account.held_bytes * percent // 100)
            case _Cancel(number):
                if number in self._waiting:
                    self._waiting[number][1].cancel()
            case _Close():
                account.close()
        await wait_all_tasks_blocked()
        self._check_bytes()
        self._check_waiting(arrived)

    async def drain(self) -> None:
        """Release everything again and again, until nobody waits any more."""
        while any(account.held_bytes for account in self._accounts):
            for number in range(_ACCOUNTS):
                await self.take(_Release(number, 100))
        assert not self._waiting
        assert self._budget.statistics().used_bytes == 0

    async def _reserve(self, number: int) -> None:
        size_bytes, scope = self._waiting[number]
        with scope:
            try:
                await self._accounts[number].reserve(size_bytes)
            except trio.ClosedResourceError:
                assert self._accounts[number].is_closed
            else:
                self._admitted.append(number)
        del self._waiting[number]

    def _check_bytes(self) -> None:
        held = [account.held_bytes for account in self._accounts]
        assert self._budget.statistics().used_bytes == sum(held)
        assert sum(held) <= _LIMIT or sum(it > 0 for it in held) == 1
        assert not any(account.held_bytes for account in self._accounts if account.is_closed)

    def _check_waiting(self, arrived: Sequence[int]) -> None:
        assert self._budget.statistics().waiting == len(self._waiting)
        free = _LIMIT - self._budget.statistics().used_bytes
        for number, (size_bytes, _) in self._waiting.items():
            held = self._accounts[number].held_bytes
            if held:
                assert held + size_bytes > free - size_bytes, "it is within its share"
                assert self._accounts[number].waits_for_share
                continue
            assert size_bytes > free < _LIMIT, "it fits"
            later = arrived[arrived.index(number) + 1 :]
            assert not set(later) & set(self._admitted), "it was overtaken"
            break  # all that came later may wait for it


@given(_STEPS)
def test_invariants_hold_in_any_schedule(steps: Sequence[_Step]) -> None:
    """Whoever reserves, releases, cancels and closes when: the sum is right, bounded, and drains.

    Nobody waits in vain, and who waits for space is not overtaken.
    """

    async def run() -> None:
        async with trio.open_nursery() as nursery:
            machine = _Machine(nursery)
            for step in steps:
                await machine.take(step)
            await machine.drain()

    run_in_virtual_time(run)
