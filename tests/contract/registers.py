"""Both kinds of founding register behind one handle."""

from __future__ import annotations

from typing import Protocol

from tests.contract.stores import TOKENS_COLLECTION
from tests.fakes.register import FakeFoundingRegister

from mnc.cluster.ports import FoundingRegister
from mnc.drivers.mongo.connection import MongoConnection
from mnc.drivers.mongo.founding import MongoFoundingRegister

__all__ = ["FakeRegisterHarness", "MongoRegisterHarness", "RegisterHarness"]


class RegisterHarness(Protocol):
    """Gives the registers of several clusters, which share a database."""

    def register(self, cluster: str = "connector", stream: str = "cs") -> FoundingRegister:
        """Return what is under test, anew, as on another instance."""
        ...


class FakeRegisterHarness:
    """The fake, of which a cluster has one."""

    def __init__(self) -> None:
        self._registers: dict[tuple[str, str], FakeFoundingRegister] = {}

    def register(self, cluster: str = "connector", stream: str = "cs") -> FoundingRegister:
        """Return the cluster's register."""
        return self._registers.setdefault((cluster, stream), FakeFoundingRegister())


class MongoRegisterHarness:
    """The driver."""

    def __init__(self, connection: MongoConnection) -> None:
        self._connection = connection

    def register(self, cluster: str = "connector", stream: str = "cs") -> FoundingRegister:
        """Return a new register."""
        return MongoFoundingRegister(
            self._connection, collection=TOKENS_COLLECTION, cluster=cluster, stream=stream
        )
