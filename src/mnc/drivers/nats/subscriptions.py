"""What a session is subscribed to, whichever its client is."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription

__all__ = ["Receive", "Subscriptions"]

Receive = Callable[[Msg], None]
"""Takes a message; it is called on the asyncio side, and must neither raise nor block."""

_PENDING_MESSAGES = 1024
_PENDING_BYTES = 16 * 1024 * 1024
"""What a subscription holds until its turn comes; what is more is dropped. nats-py would hold 128
MiB, which is more than the rest of the process needs."""


class Subscriptions:
    """Keep what is wanted, and make it so on a client.

    Invariants: after `apply` the client is subscribed once to each wanted subject, and to no other
    that was wanted before. nats-py itself subscribes again after a reconnect of the same client.
    """

    def __init__(self) -> None:
        self._wanted: dict[str, Receive] = {}
        self._client: Client | None = None
        self._made: dict[str, Subscription] = {}
        self._lock = asyncio.Lock()

    def add(self, subject: str, receive: Receive) -> None:
        """Want messages on a subject, which may have wildcards; one receiver each."""
        self._wanted[subject] = receive

    def remove(self, subject: str) -> None:
        """Want them no more."""
        del self._wanted[subject]

    async def apply(self, client: Client) -> None:
        """Subscribe and unsubscribe as is wanted by now; on the asyncio side."""
        async with self._lock:
            if client is not self._client:
                self._client, self._made = client, {}
            for subject in self._made.keys() - self._wanted.keys():
                await self._made.pop(subject).unsubscribe()
            while missing := self._wanted.keys() - self._made.keys():
                subject = min(missing)
                self._made[subject] = await self._subscribe(client, subject)

    async def renew(self, client: Client, subject: str) -> None:
        """Subscribe again to a wanted subject; on the asyncio side."""
        async with self._lock:
            if client is self._client and subject in self._made:
                await self._made.pop(subject).unsubscribe()
        await self.apply(client)

    async def _subscribe(self, client: Client, subject: str) -> Subscription:
        receive = self._wanted[subject]

        async def deliver(message: Msg) -> None:
            receive(message)

        return await client.subscribe(
            subject,
            cb=deliver,
            pending_msgs_limit=_PENDING_MESSAGES,
            pending_bytes_limit=_PENDING_BYTES,
        )
