"""For consumers: the payload of a message, wherever it is kept."""

from __future__ import annotations

import asyncio
import hashlib
import io

from nats.aio.msg import Msg
from nats.js import JetStreamContext

from mnc.encode.reference import read_reference

__all__ = ["PayloadMismatchError", "resolve"]


class PayloadMismatchError(Exception):
    """What the object store has is not what the message refers to."""


async def resolve(jetstream: JetStreamContext, message: Msg, *, timeout_s: float = 30.0) -> bytes:
    """Return the payload of a message of the stream: the change event as Extended JSON.

    A message that refers to an object gives the object, read within `timeout_s` seconds and
    compared with the reference's size and SHA-256; any other gives its own data at once. To be
    awaited in the asyncio loop of the NATS client.

    Raises TimeoutError, PayloadMismatchError, ValueError when a reference can't be read, and what
    nats-py raises, which is `nats.js.errors.NotFoundError` when there is no such object any more.

    Cancellation: nothing has changed.
    """
    reference = read_reference(message.headers or {}, message.data)
    if reference is None:
        return message.data
    # `get` without a place to write to copies all that it has read with each chunk.
    buffer = io.BytesIO()
    async with asyncio.timeout(timeout_s):
        store = await jetstream.object_store(reference.bucket)
        await store.get(reference.object, writeinto=buffer)
    payload = buffer.getvalue()
    if len(payload) != reference.bytes:
        raise PayloadMismatchError(
            f"object {reference.object} has {len(payload)} bytes instead of {reference.bytes}"
        )
    if hashlib.sha256(payload).hexdigest() != reference.sha256:
        raise PayloadMismatchError(f"object {reference.object} has another SHA-256")
    return payload
