"""Whole clusters in virtual time: nodes on disks, a network and a register in memory."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator, Callable, Mapping
from collections.abc import Set as AbstractSet
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial

import trio
from tests.fakes.network import FakeNetwork
from tests.fakes.raft_storage import FakeDisk, FakeStorage
from tests.fakes.register import FakeFoundingRegister

from mnc.cluster.node import Node
from mnc.cluster.replica import Instance, Pace
from mnc.config import AssignmentPolicy
from mnc.model import Epoch
from mnc.raft import NodeId

__all__ = ["COLLECTIONS", "VirtualCluster", "working_cluster"]

COLLECTIONS = frozenset(f"collection_{number}" for number in range(7))

_DRAIN_S = 0.02
"""How long a lane takes to end."""


@dataclass(eq=False)
class _Process:
    node: Node
    scope: trio.CancelScope = field(default_factory=trio.CancelScope)
    owned: Mapping[str, Epoch] = field(default_factory=dict)


class VirtualCluster:
    """Instances by number; `start` and `crash` them, and look at what they own.

    Invariants: an epoch of a collection is only ever owned by one disk, which is asserted.
    """

    def __init__(
        self,
        nursery: trio.Nursery,
        *,
        size: int = 3,
        seed: int = 0,
        assignment: AssignmentPolicy = "spread",
    ) -> None:
        self.network = FakeNetwork()
        self.register = FakeFoundingRegister()
        self.processes: dict[int, _Process] = {}
        self.size = size
        self.drain_s = _DRAIN_S
        self.wanted: Callable[[AbstractSet[str]], AbstractSet[str]] = lambda _: COLLECTIONS
        """What is shared out, given what is so far; the same for all instances."""
        self.nursery = nursery
        self._assignment: AssignmentPolicy = assignment
        self._rng = random.Random(seed)
        self._disks: dict[int, FakeDisk] = {}
        self._owners: dict[tuple[str, Epoch], NodeId] = {}

    # --- what is done to it ----------------------------------------------------------------------

    def start(self, *numbers: int) -> None:
        """Start instances, each on its disk."""
        for number in numbers:
            disk = self._disks.setdefault(
                number, FakeDisk(NodeId(f"{self._rng.getrandbits(32):08x}"))
            )
            process = _Process(
                Node(
                    instance=Instance(
                        name=f"mnc-{number}",
                        incarnation=f"{self._rng.getrandbits(64):x}",
                        size=self.size,
                        wanted=self._wanted,
                        assignment=self._assignment,
                        pace=Pace.of(0.5),
                    ),
                    storage=FakeStorage(disk),
                    in_thread=_at_once,
                    transport=self.network.connect(disk.node),
                    register=self.register,
                    noted=lambda _: None,
                    rng=random.Random(self._rng.random()),
                )
            )
            self.processes[number] = process
            self.nursery.start_soon(self._run, number, process)

    def crash(self, number: int) -> None:
        """End an instance as kill -9 does."""
        self.processes.pop(number).scope.cancel()
        self.network.disconnect(self.disk(number).node)

    async def stop(self, number: int) -> None:
        """End an instance as SIGTERM does."""
        node = self.processes[number].node
        node.begin_to_leave()
        await node.finish_leaving()
        self.crash(number)

    def wipe(self, number: int) -> None:
        """Let an instance that doesn't run lose its disk."""
        assert number not in self.processes
        del self._disks[number]

    # --- what it shows ---------------------------------------------------------------------------

    def disk(self, number: int) -> FakeDisk:
        """Return an instance's disk."""
        return self._disks[number]

    def leader(self) -> int:
        """Return the number of the leader that all who run agree on; -1 when there is none."""
        views = {number: process.node.view for number, process in self.processes.items()}
        leaders = {view.soft_state.leader if view else None for view in views.values()}
        found = [number for number in views if leaders == {self.disk(number).node}]
        return found[0] if found else -1

    def owned(self, number: int) -> Mapping[str, Epoch]:
        """Return what an instance works on."""
        return self.processes[number].owned

    def is_working(self) -> bool:
        """Say whether each collection has one owner that runs, by all accounts."""
        owned = [name for process in self.processes.values() for name in process.owned]
        return sorted(owned) == sorted(COLLECTIONS)

    async def wait_for(self, condition: Callable[[], bool], *, timeout_s: float) -> float:
        """Wait until `condition` holds; return how long that took in virtual seconds."""
        began = trio.current_time()
        with trio.fail_after(timeout_s):
            while not condition():  # noqa: ASYNC110 - any condition, in virtual time
                await trio.sleep(0.001)
        return trio.current_time() - began

    async def wait_working(self, *, timeout_s: float = 10) -> float:
        """Wait until each collection has one owner."""
        return await self.wait_for(self.is_working, timeout_s=timeout_s)

    # --- the instances ---------------------------------------------------------------------------

    def _wanted(self, shared: AbstractSet[str]) -> AbstractSet[str]:
        return self.wanted(shared)

    async def _run(self, number: int, process: _Process) -> None:
        with process.scope:
            await process.node.run(partial(self._assigned, number))

    def _assigned(self, number: int, owned: Mapping[str, Epoch]) -> None:
        process = self.processes[number]
        for name, epoch in owned.items():
            owner = self._owners.setdefault((name, epoch), self.disk(number).node)
            assert owner == self.disk(number).node, f"{name} has two owners in epoch {epoch}"
        for name, epoch in process.owned.items():
            if owned.get(name) != epoch:
                self.nursery.start_soon(self._drain, process, name, epoch)
        process.owned = owned

    async def _drain(self, process: _Process, name: str, epoch: Epoch) -> None:
        await trio.sleep(self.drain_s)
        if process in self.processes.values():
            process.node.release(name, epoch)


async def _at_once(write: Callable[[], None]) -> None:
    await trio.lowlevel.checkpoint()
    write()


@asynccontextmanager
async def working_cluster(
    *, seed: int, instances: int = 3, assignment: AssignmentPolicy = "spread"
) -> AsyncIterator[VirtualCluster]:
    """Run a cluster of size three in which each collection has an owner, until the block ends."""
    async with trio.open_nursery() as nursery:
        cluster = VirtualCluster(nursery, seed=seed, assignment=assignment)
        cluster.start(*range(instances))
        await cluster.wait_working()
        yield cluster
        nursery.cancel_scope.cancel()
