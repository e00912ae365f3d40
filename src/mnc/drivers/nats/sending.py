"""An event as a message: its headers, and how it is sent. On the asyncio side."""

from __future__ import annotations

from collections.abc import Mapping

from nats.aio.client import Client

from mnc.model import EncodedEvent

__all__ = ["headers_of", "send_event"]


def headers_of(event: EncodedEvent) -> dict[str, str]:
    """Return the headers that an event has of its own. Pure."""
    return {"Nats-Msg-Id": event.message_id, **dict(event.headers)}


async def send_event(client: Client, event: EncodedEvent, place: Mapping[str, str]) -> None:
    """Send an event with the headers of its `place` in a row; there is no answer to wait for."""
    await client.publish(event.subject, event.payload, headers={**headers_of(event), **place})
