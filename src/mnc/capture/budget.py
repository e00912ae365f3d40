"""A budget of bytes that bounds what a process holds between MongoDB and the acknowledgement.

Readers reserve before they hand events to a lane; lanes release when the stream has acknowledged
them. Waiters are served in the order in which they came, so that no lane starves another.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

import trio

__all__ = ["Account", "BudgetStatistics", "ByteBudget"]


@dataclass(frozen=True, slots=True, kw_only=True)
class BudgetStatistics:
    """A snapshot of a byte budget."""

    limit_bytes: int
    used_bytes: int
    waiting: int


@dataclass(slots=True, eq=False)
class _Waiter:
    account: Account
    size_bytes: int
    admitted: bool = False
    woken: trio.Event = field(default_factory=trio.Event)


class ByteBudget:
    """Admit reservations, first come first served, while their sum stays within the limit.

    Invariants: `used` is the sum of what the open accounts hold; it is at most `limit`, unless a
    single reservation larger than the limit was admitted while nothing else was held.
    """

    def __init__(self, limit_bytes: int) -> None:
        if limit_bytes < 1:
            raise ValueError("a byte budget holds at least one byte")
        self._limit = limit_bytes
        self._used = 0
        self._waiters: deque[_Waiter] = deque()

    @property
    def limit_bytes(self) -> int:
        """What is held at most."""
        return self._limit

    def open_account(self) -> Account:
        """Return a new account that holds nothing."""
        return Account(self)

    def statistics(self) -> BudgetStatistics:
        """Return the limit, what is held, and how many wait."""
        return BudgetStatistics(
            limit_bytes=self._limit, used_bytes=self._used, waiting=len(self._waiters)
        )

    def _fits(self, size_bytes: int) -> bool:
        return self._used + size_bytes <= self._limit or self._used == 0

    def _admit(self) -> None:
        while self._waiters and self._fits(self._waiters[0].size_bytes):
            waiter = self._waiters.popleft()
            waiter.account.held_bytes += waiter.size_bytes
            self._used += waiter.size_bytes
            waiter.admitted = True
            waiter.woken.set()

    async def _reserve(self, account: Account, size_bytes: int) -> None:
        waiter = _Waiter(account, size_bytes)
        self._waiters.append(waiter)
        self._admit()
        try:
            await waiter.woken.wait()
        except trio.Cancelled:
            if waiter in self._waiters:
                self._waiters.remove(waiter)
                self._admit()
            elif waiter.admitted:
                account.release(size_bytes)
            raise
        if account.is_closed:
            raise trio.ClosedResourceError("the account was closed while waiting for the budget")

    def _release(self, size_bytes: int) -> None:
        self._used -= size_bytes
        self._admit()

    def _drop(self, account: Account) -> None:
        for waiter in [waiter for waiter in self._waiters if waiter.account is account]:
            self._waiters.remove(waiter)
            waiter.woken.set()


class Account:
    """What one lane holds of the budget.

    Invariants: a closed account holds nothing.
    """

    def __init__(self, budget: ByteBudget) -> None:
        self._budget = budget
        self.held_bytes = 0
        """What this account holds now; changed by the budget alone."""
        self.is_closed = False

    async def reserve(self, size_bytes: int) -> None:
        """Wait until `size_bytes` fit, then hold them.

        A reservation larger than the whole budget is admitted when nothing else is held.
        Raises trio.ClosedResourceError when the account is or gets closed.

        Cancellation: nothing is held.
        """
        if self.is_closed:
            raise trio.ClosedResourceError("the account is closed")
        await self._budget._reserve(self, size_bytes)  # noqa: SLF001 - one class in two halves

    def release(self, size_bytes: int) -> None:
        """Give back what was reserved. Does nothing on a closed account."""
        if self.is_closed:
            return
        if size_bytes > self.held_bytes:
            raise ValueError("an account gives back at most what it holds")
        self.held_bytes -= size_bytes
        self._budget._release(size_bytes)  # noqa: SLF001 - one class in two halves

    def close(self) -> None:
        """Give back everything and wake whoever waits on this account. Idempotent."""
        if self.is_closed:
            return
        self.is_closed = True
        held, self.held_bytes = self.held_bytes, 0
        self._budget._drop(self)  # noqa: SLF001 - one class in two halves
        self._budget._release(held)  # noqa: SLF001 - one class in two halves
