"""An instance of a cluster: finds its group, takes part in it, and leaves one that is past.

Theory of operation. An instance says Hello while it has no group or knows no leader, and reads the
register, in which groups are founded; `formation` decides from both. `Replica` is the part that the
instance takes in its group. What it should work on is reported whenever that changes.
"""

from __future__ import annotations

import math
import random
import time
from collections.abc import Callable, Mapping
from typing import assert_never
from uuid import uuid4

import structlog
import trio

from mnc.cluster.formation import MEETING_S, Enter, Found, Founding, Sighting, Wait, decide
from mnc.cluster.messages import GroupId, Hello
from mnc.cluster.ports import FoundingRegister, Heard, InThread, Storage, Transport, Unreachable
from mnc.cluster.replica import Instance, Replica
from mnc.cluster.view import ClusterView
from mnc.errors import CheckpointError
from mnc.model import Epoch
from mnc.raft import NodeId, Persisted, bootstrap

__all__ = ["Node"]

_HELLO_S = 0.5
"""How often an instance says that it has no group, or no leader."""

_LEADERLESS_S = 1.0
"""A group that elects its next leader needs no Hello meanwhile."""

_REREAD_S = 10.0
"""How often a member reads the register, to learn that its group has been replaced."""

_LEAVE_S = 1.0
"""How long the others may take to take over from an instance that leaves."""


class Node:
    """One instance of a cluster.

    Invariants: `assigned` hears of every change of what this instance should work on, in order; it
    gets no collection that another instance owns in the newest state that is known here.
    """

    def __init__(
        self,
        *,
        instance: Instance,
        storage: Storage,
        in_thread: InThread,
        transport: Transport,
        register: FoundingRegister,
        noted: Callable[[ClusterView | None], None],
        rng: random.Random,
    ) -> None:
        """Prepare. `noted` hears of every change of what this instance knows of its group."""
        self._instance = instance
        self._storage = storage
        self._in_thread = in_thread
        self._transport = transport
        self._register = register
        self._assigned: Callable[[Mapping[str, Epoch]], None] = _ignore
        self._noted = noted
        self._rng = rng
        self._log = structlog.get_logger()
        self._started_at = trio.current_time()
        self._replica: Replica | None = None
        self._sightings: dict[NodeId, tuple[Hello, float]] = {}
        self._owned: Mapping[str, Epoch] = {}
        self._view: ClusterView | None = None
        self._changed = trio.Event()
        self._newcomer = trio.Event()
        self._is_leaving = False
        self._register_error: CheckpointError | None = None

    @property
    def view(self) -> ClusterView | None:
        """What this instance knows of its group; None while it has none."""
        return None if self._replica is None else self._replica.view

    def not_ready_because(self) -> str | None:
        """Say in a sentence why this instance can't be given work, or None."""
        if self._replica is None:
            if self._register_error is not None:
                return f"the cluster's founding can't be read: {self._register_error}"
            met = 1 + len(self._recent_sightings())
            return (
                f"the cluster isn't formed yet: {met} of {self._instance.size} instances have met"
            )
        if self._replica.view.soft_state.leader is None:
            since_s = trio.current_time() - self._replica.led_at
            return f"the cluster has had no leader for {since_s:.0f} s: a majority has to run"
        if not self._replica.has_joined:
            return "this instance is joining the cluster"
        return None

    # --- what this instance does -----------------------------------------------------------------

    def release(self, collection: str, epoch: Epoch) -> None:
        """Note that this instance does nothing more with a collection in this epoch."""
        if self._replica is not None:
            self._replica.release(collection, epoch)

    def begin_to_leave(self) -> None:
        """Take no more work; what is owned is handed over as it is released."""
        self._is_leaving = True
        if self._replica is not None:
            self._replica.leave()

    async def finish_leaving(self) -> None:
        """Wait until the others have taken over, the leadership too; for about a second at most."""
        replica = self._replica
        if replica is None:
            return
        with trio.move_on_after(_LEAVE_S):
            while not replica.has_left:
                await self._changed.wait()
            while replica.resign():
                await self._changed.wait()

    async def run(self, assigned: Callable[[Mapping[str, Epoch]], None]) -> None:
        """Take part in the cluster, until cancelled.

        `assigned` hears of every change of what this instance should work on. Raises ClusterError
        when the disk fails or the cluster runs a newer version.

        Cancellation: the group sees an instance that is gone.
        """
        self._assigned = assigned
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._listen)
            while True:
                group = self._storage.group
                founding = (
                    await self._find_group() if group is None else await self._take_part(group)
                )
                await self._enter(founding)

    # --- its part in a group ---------------------------------------------------------------------

    async def _enter(self, founding: Founding) -> None:
        is_founder = self._storage.node in founding.voters
        persisted = bootstrap(founding.voters, founding.state) if is_founder else Persisted()
        await self._in_thread(lambda: self._storage.enter(founding.group, persisted))
        self._log.info("cluster.entered", group=founding.group, generation=founding.generation)

    async def _take_part(self, group: GroupId) -> Founding:
        """Take part in `group` until another is there to enter, and return that one's founding."""
        async with trio.open_nursery() as nursery:
            self._replica = replica = Replica(
                instance=self._instance,
                group=group,
                storage=self._storage,
                in_thread=self._in_thread,
                transport=self._transport,
                changed=self._note_change,
                rng=self._rng,
            )
            if self._is_leaving:
                replica.leave()
            nursery.start_soon(replica.run)
            founding = await self._find_group()
            nursery.cancel_scope.cancel()
        self._replica = None
        self._note_change()
        return founding

    def _note_change(self) -> None:
        view = self.view
        if view == self._view:
            return
        self._view = view
        self._noted(view)
        owned = self._replica.owned if self._replica else {}
        if owned != self._owned:
            self._owned = owned
            self._log.info("cluster.assigned", collections=sorted(owned))
            self._assigned(owned)
            if self._replica is not None:
                self._replica.note_given(owned)
        self._changed.set()
        self._changed = trio.Event()

    async def _listen(self) -> None:
        async for arrival in self._transport.arrivals:
            replica = self._replica
            match arrival:
                case Heard(message=message, group=group):
                    if isinstance(message, Hello):
                        await self._meet(message)
                    if replica is not None and group in (None, replica.group):
                        replica.hear(message)
                case Unreachable(node=node):
                    if replica is not None:
                        replica.miss(node)
                case _:
                    assert_never(arrival)

    async def _meet(self, hello: Hello) -> None:
        self._sightings[hello.sender] = (hello, trio.current_time())
        if hello.group is None and self._replica is not None and not self._is_searching():
            # Or those who meet may found a group beside this one, if the register has lost it.
            await self._say_hello()
            self._newcomer.set()

    # --- which group -----------------------------------------------------------------------------

    async def _find_group(self) -> Founding:
        """Return the founding of the next group to enter, once there is one."""
        read_at = -math.inf
        while True:
            is_searching = self._is_searching()
            if is_searching:
                await self._say_hello()
            # Answers come before the next look, those of a group that the register has lost too.
            with trio.move_on_after(_HELLO_S * self._rng.uniform(0.8, 1.2)):
                await self._newcomer.wait()
                read_at = -math.inf
            self._newcomer = trio.Event()
            if is_searching or trio.current_time() - read_at >= _REREAD_S:
                read_at = trio.current_time()
                try:
                    founding = await self._consult_register()
                except CheckpointError as error:
                    self._note_register(error)
                else:
                    self._note_register(None)
                    if founding is not None:
                        return founding

    async def _say_hello(self) -> None:
        own = self._hello()
        await self._transport.send([own], group=own.group)

    async def _consult_register(self) -> Founding | None:
        """Found a group if that is called for; return the founding of a group to enter, or None.

        Raises CheckpointError.
        """
        founding = await self._register.read()
        while True:
            decision = decide(
                self._hello(),
                sightings=self._recent_sightings(),
                founding=founding,
                state=None if self._replica is None else self._replica.state,
                size=self._instance.size,
                new_group=GroupId(uuid4().hex),
                now_ms=round(time.time() * 1000),
            )
            match decision:
                case Found(founding=proposed):
                    founding = await self._register.found(proposed)
                case Enter(founding=found):
                    return found
                case Wait():
                    return None
                case _:
                    assert_never(decision)

    def _note_register(self, error: CheckpointError | None) -> None:
        if error is not None and self._register_error is None:
            self._log.warning("cluster.register_unreachable", error=str(error))
        self._register_error = error

    def _hello(self) -> Hello:
        replica = self._replica
        term, index = replica.last_entry if replica else (0, 0)
        return Hello(
            sender=self._storage.node,
            name=self._instance.name,
            group=None if replica is None else replica.group,
            last_term=term,
            last_index=index,
            leaderless_s=self._leaderless_s(),
        )

    def _is_searching(self) -> bool:
        return self._replica is None or self._leaderless_s() >= _LEADERLESS_S

    def _leaderless_s(self) -> float:
        since = self._replica.led_at if self._replica else self._started_at
        return trio.current_time() - since

    def _recent_sightings(self) -> list[Sighting]:
        now = trio.current_time()
        self._sightings = {
            node: (hello, heard_at)
            for node, (hello, heard_at) in self._sightings.items()
            if now - heard_at <= MEETING_S
        }
        return [
            Sighting(hello=hello, age_s=now - heard_at)
            for hello, heard_at in self._sightings.values()
        ]


def _ignore(_: Mapping[str, Epoch]) -> None:
    """Tell nobody, before `run`."""
