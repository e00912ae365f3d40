"""A budget of bytes that bounds what a process holds between MongoDB and the acknowledgement.

Theory of operation. Readers reserve before they hand events to a lane; lanes release when the
stream has acknowledged them. Each lane has an account, whose *share* is a dynamic threshold: an
account may hold as much as is free (Choudhury and Hahne, "Dynamic queue length thresholds for
shared-memory packet switches", 1998, with alpha = 1). So one busy lane gets half of the budget,
two get a third each, and something is always left for a lane that holds nothing. Such a lane may
take whatever fits, however large.
Who waits for its own share holds up nobody. Who waits for space, which is an account that holds
nothing, is served before all that came later: otherwise large events would starve.
"""

from __future__ import annotations

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
class _Wish:
    """What an account waits for."""

    size_bytes: int
    granted: trio.Event = field(default_factory=trio.Event)
    """Set once it is held, or the account is closed."""


class ByteBudget:
    """Admit reservations while their sum stays within the limit, and each within its share.

    Invariants: `used` is the sum of what the open accounts hold; it is at most `limit`, unless a
    single reservation larger than the limit was admitted while nothing else was held. Nobody waits
    who could be admitted, except behind somebody who came earlier and waits for space.
    """

    def __init__(self, limit_bytes: int) -> None:
        if limit_bytes < 1:
            raise ValueError("a byte budget holds at least one byte")
        self._limit = limit_bytes
        self._used = 0
        self._waiting: dict[Account, _Wish] = {}
        """In order of arrival."""

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
            limit_bytes=self._limit, used_bytes=self._used, waiting=len(self._waiting)
        )

    @property
    def _free(self) -> int:
        return self._limit - self._used

    def _exceeds_share(self, account: Account, size_bytes: int) -> bool:
        # Compared as it would be afterwards, so that a share is never exceeded.
        held = account.held_bytes
        return held > 0 and held + size_bytes > self._free - size_bytes

    def _waits_for_share(self, account: Account) -> bool:
        wish = self._waiting.get(account)
        return wish is not None and self._exceeds_share(account, wish.size_bytes)

    def _admit(self) -> None:
        for account, wish in list(self._waiting.items()):
            if self._exceeds_share(account, wish.size_bytes):
                continue
            if wish.size_bytes > self._free and self._used > 0:
                return  # it waits for space, and with it all that came later
            del self._waiting[account]
            account.held_bytes += wish.size_bytes
            self._used += wish.size_bytes
            wish.granted.set()

    async def _reserve(self, account: Account, size_bytes: int) -> None:
        if account in self._waiting:
            raise trio.BusyResourceError("another reservation of the account waits")
        wish = self._waiting[account] = _Wish(size_bytes)
        self._admit()
        try:
            await wish.granted.wait()
        except trio.Cancelled:
            if self._waiting.get(account) is wish:
                del self._waiting[account]
                self._admit()
            else:
                account.release(size_bytes)
            raise
        if account.is_closed:
            raise trio.ClosedResourceError("the account was closed while waiting for the budget")

    def _release(self, size_bytes: int) -> None:
        self._used -= size_bytes
        self._admit()

    def _drop(self, account: Account) -> None:
        if wish := self._waiting.pop(account, None):
            wish.granted.set()


class Account:
    """What one lane holds of the budget.

    Invariants: a closed account holds nothing and waits for nothing.
    """

    def __init__(self, budget: ByteBudget) -> None:
        self._budget = budget
        self.held_bytes = 0
        """What this account holds now; changed by the budget alone."""
        self.is_closed = False

    @property
    def limit_bytes(self) -> int:
        """What all accounts hold at most."""
        return self._budget.limit_bytes

    @property
    def has_room(self) -> bool:
        """Whether it holds less than half of its share, so that it can take a burst."""
        return 2 * self.held_bytes < self._budget._free  # noqa: SLF001 - one class in two halves

    @property
    def waits_for_share(self) -> bool:
        """Whether somebody waits on this account until it holds less itself."""
        return self._budget._waits_for_share(self)  # noqa: SLF001 - one class in two halves

    async def reserve(self, size_bytes: int) -> None:
        """Wait until `size_bytes` fit, then hold them.

        A reservation larger than the whole budget is admitted when nothing else is held.
        Raises trio.ClosedResourceError when the account is or gets closed, and
        trio.BusyResourceError when another task waits on the account.

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
