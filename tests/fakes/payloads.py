"""The port for large payloads: a store in memory, with its faults; and policies for tests."""

from __future__ import annotations

import hashlib

import trio
from tests.fakes.faults import Faults, Latency, Script, one_millisecond

from mnc.encode.reference import PayloadReference
from mnc.errors import SinkError
from mnc.publish.remedy import Remedies, Stop

__all__ = ["STOPPING", "FakePayloadStore"]

STOPPING = Remedies(oversize=Stop("set NATS_OVERSIZE"), poison=Stop("set PUBLISH_ON_POISON"))
"""The policies that wait for a person."""


class FakePayloadStore:
    """Payloads by their names."""

    def __init__(self, *, latency: Latency = one_millisecond) -> None:
        self.faults: Faults[SinkError] = Script()
        self.payloads: dict[str, bytes] = {}
        self._latency = latency

    async def put(self, name: str, payload: bytes) -> PayloadReference:
        """Keep a payload."""
        fault = self.faults()
        await trio.sleep(self._latency())
        if fault is not None:
            raise fault
        self.payloads[name] = payload
        sha256 = hashlib.sha256(payload).hexdigest()
        return PayloadReference(bucket="fake", object=name, bytes=len(payload), sha256=sha256)
