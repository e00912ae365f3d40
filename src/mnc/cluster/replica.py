"""This instance's part in one group: Raft driven by time, messages and a disk.

Theory of operation. Whatever happens is given to the Raft core at once, by `hear`, by the clock and
by the pending commands; one task then stores, sends and applies what the core hands out, and does a
leader's duties. Commands are declared, not sent: `_pending` says which ones the state lacks, and
they are proposed again and again until it has them.

Silence is counted in turns of the clock's task, not in time: what others sent while this process
stood still lies in the inbox when it goes on, and is read before the next turn.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from contextlib import suppress
from dataclasses import dataclass

import structlog
import trio

from mnc.cluster.membership import Follower, next_change
from mnc.cluster.messages import ClusterMessage, GroupId, Hello, Probe, Propose
from mnc.cluster.placement import OnLeader, Spread, place
from mnc.cluster.ports import InThread, Storage, Transport
from mnc.cluster.silence import Silence
from mnc.cluster.state import (
    Command,
    Join,
    Leave,
    Release,
    apply,
    decode_command,
    decode_state,
    encode_command,
    encode_state,
    initial_state,
)
from mnc.cluster.view import ClusterView
from mnc.config import AssignmentPolicy
from mnc.errors import ClusterError
from mnc.model import Epoch
from mnc.raft import NodeId, Raft, RaftSettings, Ready, RefusedError, RequestVote, Role

__all__ = ["Instance", "Pace", "Replica"]

_LONGEST_TICK_S = 0.05
"""How often members that were not heard are asked for; each time costs two small messages."""

_SHORTEST_ELECTION_TICKS = 10
"""Five heartbeats, four of which may be late or lost."""

_PATIENCE_TURNS = 1
"""Whoever was not heard for so long is probed, a small message that nobody answers. It is shorter
than a heartbeat: the end of an instance is noticed within one turn, or two."""

_REPEAT_TURNS = 4
"""A command without effect is proposed again after this: it, or its entry, was lost."""

_GREETING_TURNS = 40
"""A Hello that is older than this counts for nothing."""

_COMPACT_AFTER = 256
"""Entries of the log that are kept before a snapshot takes their place."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """How fast a group beats."""

    tick_s: float
    raft: RaftSettings

    @classmethod
    def of(cls, election_timeout_s: float) -> Pace:
        """Return the pace at which a silent leader is missed after so many seconds.

        A longer time-out doesn't mean longer ticks, so that ends are noticed as soon as ever.
        """
        ticks = max(_SHORTEST_ELECTION_TICKS, round(election_timeout_s / _LONGEST_TICK_S))
        return cls(
            tick_s=election_timeout_s / ticks,
            raft=RaftSettings(heartbeat_ticks=2, min_election_ticks=ticks),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Instance:
    """This process, and what it was told of its cluster: the same in every group."""

    name: str
    """What a person calls it."""
    incarnation: str
    """A name of this process's own."""
    size: int
    """How many members vote."""
    wanted: Callable[[AbstractSet[str]], AbstractSet[str]]
    """Returns what is shared out while this instance leads, given what is shared out so far."""
    assignment: AssignmentPolicy
    pace: Pace


@dataclass(frozen=True, slots=True, kw_only=True)
class _Greeting:
    """A Hello that was heard."""

    name: str
    turn: int


class Replica:
    """One member of one group.

    Invariants: what is sent and applied is on the disk. `state` is the same on every member that
    has applied as much.
    """

    def __init__(
        self,
        *,
        instance: Instance,
        group: GroupId,
        storage: Storage,
        in_thread: InThread,
        transport: Transport,
        changed: Callable[[], None],
        rng: random.Random,
    ) -> None:
        """Start from what is on the disk. Raises ClusterError when that can't be trusted.

        `changed` is called after every step that may have changed the view.
        """
        self.group = group
        self.node = storage.node
        self._instance = instance
        self._pace = pace = instance.pace
        self._storage = storage
        self._in_thread = in_thread
        self._transport = transport
        self._on_change = changed
        self._log = structlog.get_logger()
        persisted = storage.load()
        shortest = pace.raft.min_election_ticks
        self._raft = Raft(
            self.node,
            persisted=persisted,
            settings=pace.raft,
            election_timeout_ticks=lambda: rng.randint(shortest, 2 * shortest),
        )
        data = persisted.snapshot.data
        self.state = decode_state(data) if data else initial_state(0, first_epoch=0)
        self._applied_term = persisted.snapshot.term
        self._ticked_at = trio.current_time()
        self.led_at = self._ticked_at
        """When a leader was known last, on trio's clock."""
        self._turn = 0
        self._silence = Silence(missed_after=shortest)
        self._leader: NodeId | None = None
        self._last_leader: NodeId | None = None
        self._greetings: dict[NodeId, _Greeting] = {}
        self._leaving = False
        self._given: set[tuple[str, Epoch]] = set()
        self._released: set[tuple[str, Epoch]] = set()
        self._proposed: dict[Command, int] = {}
        self._placed: tuple[int, int] | None = None
        self._work = trio.Event()

    # --- what others ask ---------------------------------------------------------------------

    @property
    def view(self) -> ClusterView:
        """What this member knows."""
        return ClusterView(
            node=self.node,
            group=self.group,
            soft_state=self._raft.soft_state,
            commit_index=self._raft.commit_index,
            configuration=self._raft.configuration,
            state=self.state,
        )

    @property
    def owned(self) -> Mapping[str, Epoch]:
        """The collections that this instance should be working on, with their epochs."""
        if not self.has_joined:
            return {}
        return {
            name: share.epoch
            for name, share in self.state.shares.items()
            if share.owner == self.node and share.heir is None
        }

    @property
    def last_entry(self) -> tuple[int, int]:
        """The term and the index of the last entry of the log."""
        return self._raft.last_entry

    def release(self, collection: str, epoch: Epoch) -> None:
        """Note that a collection of this instance is drained."""
        self._released.add((collection, epoch))
        self._wake()

    def note_given(self, owned: Mapping[str, Epoch]) -> None:
        """Note what this process works on: that it has to release, the rest it never touched."""
        self._given.update(owned.items())

    def leave(self) -> None:
        """Ask for no more work, from now on."""
        self._leaving = True
        self._wake()

    @property
    def has_left(self) -> bool:
        """Whether the group knows that this instance has no work any more."""
        owns = any(share.owner == self.node for share in self.state.shares.values())
        return not self.has_joined and not owns

    def resign(self) -> bool:
        """Hand the leadership to who has most of the log; return whether it still is here."""
        if self._raft.soft_state.role is not Role.LEADER:
            return False
        match_index, voters = self._raft.match_index, self._raft.configuration.voters
        heirs = [node for node in sorted(match_index) if node in voters and self._answers(node)]
        if not heirs:
            return False  # there is nobody to hand it to
        try:
            self._raft.transfer_leadership(max(heirs, key=match_index.__getitem__))
        except RefusedError:
            return True  # under way
        self._wake()
        return True

    # --- what happens ------------------------------------------------------------------------

    async def run(self) -> None:
        """Take part, until cancelled.

        Raises ClusterError when the disk fails, or an entry of the log can't be read: this instance
        must not vote any more.

        Cancellation: what was going to be stored or sent may be.
        """
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._keep_time)
            while True:
                self._work = trio.Event()  # what happens from here on is looked at again
                while (ready := self._raft.take_ready()) is not None:
                    await self._handle(ready)
                self._note_leader()
                self._lead()
                await self._propose_pending()
                self._on_change()
                await self._work.wait()

    def hear(self, message: ClusterMessage) -> None:
        """Take a message of this group, or of an instance without one."""
        self._catch_up()
        match message:
            case Hello():
                greeting = _Greeting(name=message.name, turn=self._turn)
                self._greetings[message.sender] = greeting
            case Propose(command=command):
                self._propose(command)
            case Probe():
                pass  # the broker has answered it
            case _:
                self._raft.step(message)
                is_of_now = message.term == self._raft.soft_state.term
                if is_of_now and not isinstance(message, RequestVote):
                    # Everything else may come from one that hears nothing.
                    self._silence.hear(message.sender, self._turn)
        self._wake()

    def miss(self, node: NodeId) -> None:
        """Hear from the broker that a node's process is gone."""
        self._catch_up()
        if node in self._raft.configuration.members and node not in self._silence.gone:
            self._silence.miss(node)
            if self._raft.soft_state.role is Role.LEADER:
                self._log_gone(node)
        self._raft.leader_is_gone(node)
        self._wake()

    async def _keep_time(self) -> None:
        while True:
            await trio.sleep_until(self._ticked_at + self._pace.tick_s)
            self._turn += 1
            self._catch_up()
            leader = self._raft.soft_state.leader
            if leader is not None:
                self.led_at = trio.current_time()
            await self._transport.send(self._probes(), group=self.group)
            self._wake()

    def _probes(self) -> Sequence[Probe]:
        """Return what makes the broker say whether those whom this member needs are gone.

        A leader needs its followers, who have collections; a follower needs its leader.
        """
        leader = self._raft.soft_state.leader
        members = self._raft.configuration.members - {self.node}
        needed = members if leader == self.node else members & {leader}
        return [
            Probe(sender=self.node, receiver=node)
            for node in sorted(needed - self._silence.gone)
            if self._silence.turns(node, self._turn) >= _PATIENCE_TURNS
        ]

    def _catch_up(self) -> None:
        """Count the ticks that are due, before anything else happens."""
        now = trio.current_time()
        while self._ticked_at + self._pace.tick_s <= now:
            self._ticked_at += self._pace.tick_s
            self._raft.tick()

    def _wake(self) -> None:
        self._work.set()

    # --- what the core hands out -------------------------------------------------------------

    async def _handle(self, ready: Ready) -> None:
        """Store, send, apply: in this order."""
        if ready.hard_state or ready.snapshot or ready.entries:
            await self._in_thread(lambda: self._storage.save(ready))
        if ready.messages:
            await self._transport.send(ready.messages, group=self.group)
        if ready.snapshot is not None:
            self.state = decode_state(ready.snapshot.data)
            self._applied_term = ready.snapshot.term
        for entry in ready.committed:
            if isinstance(entry.payload, bytes):
                self.state = apply(self.state, decode_command(entry.payload))
            self._applied_term = entry.term
        self._raft.advance()
        if self._raft.applied_index - self._raft.snapshot.index >= _COMPACT_AFTER:
            snapshot = self._raft.compact(self._raft.applied_index, encode_state(self.state))
            await self._in_thread(lambda: self._storage.compact(snapshot))

    # --- commands ----------------------------------------------------------------------------

    @property
    def has_joined(self) -> bool:
        """Whether the group knows this process, and gives it work."""
        member = self.state.members.get(self.node)
        return member is not None and member.incarnation == self._instance.incarnation

    def _pending(self) -> Iterator[Command]:
        """Yield what this instance has to tell the group, and the state doesn't show yet."""
        if self._leaving and self.has_joined:
            yield Leave(node=self.node, incarnation=self._instance.incarnation)
        elif not self._leaving and not self.has_joined:
            yield Join(
                node=self.node, name=self._instance.name, incarnation=self._instance.incarnation
            )
        for name, epoch in sorted(self._ended()):
            yield Release(collection=name, node=self.node, epoch=epoch)

    def _ended(self) -> AbstractSet[tuple[str, Epoch]]:
        """Return what this instance owns in the group's eyes, and does nothing more for."""
        mine = {
            (name, share.epoch)
            for name, share in self.state.shares.items()
            if share.owner == self.node
        }
        self._given &= mine
        self._released &= mine
        if not (self.has_joined or self._leaving):
            return self._released
        # An earlier process of this disk may have ended before it released what it handed over.
        return self._released | (mine - self._given - set(self.owned.items()))

    async def _propose_pending(self) -> None:
        leader = self._raft.soft_state.leader
        if leader is None:
            self._proposed.clear()
            return
        pending = list(self._pending())
        self._proposed = {
            command: turn for command, turn in self._proposed.items() if command in pending
        }
        asked: list[Propose] = []
        for command in pending:
            if self._turn - self._proposed.get(command, -_REPEAT_TURNS) < _REPEAT_TURNS:
                continue
            self._proposed[command] = self._turn
            encoded = encode_command(command)
            if leader == self.node:
                self._propose(encoded)
            else:
                asked.append(Propose(sender=self.node, receiver=leader, command=encoded))
        if asked:
            await self._transport.send(asked, group=self.group)

    def _propose(self, command: bytes) -> None:
        """Append a command if this is the leader; who wants it asks again otherwise."""
        with suppress(ClusterError, RefusedError):
            decode_command(command)
            self._raft.propose(command)

    # --- a leader's duties -------------------------------------------------------------------

    def _lead(self) -> None:
        soft = self._raft.soft_state
        if soft.role is not Role.LEADER or self._applied_term != soft.term:
            return  # only what this term has committed says how things are now
        self._change_members()
        self._place()

    def _change_members(self) -> None:
        raft = self._raft
        self._greetings = {
            node: greeting
            for node, greeting in self._greetings.items()
            if self._turn - greeting.turn < _GREETING_TURNS
        }
        change = next_change(
            raft.configuration,
            size=self._instance.size,
            node=self.node,
            followers={
                node: Follower(
                    silent_s=self._silence.turns_in_all(node, self._turn) * self._pace.tick_s,
                    is_caught_up=match_index >= raft.commit_index,
                )
                for node, match_index in raft.match_index.items()
            },
            greeting={node: greeting.name for node, greeting in self._greetings.items()},
            names={node: member.name for node, member in self.state.members.items()},
            answers_within_s=self._pace.raft.min_election_ticks * self._pace.tick_s,
        )
        if change is None:
            return
        try:
            raft.change_membership(change)
        except RefusedError:
            return  # until the last change is committed
        self._log.info("cluster.membership_changed", change=str(change))
        self._wake()

    def _place(self) -> None:
        term = self._raft.soft_state.term
        if self._placed == (term, self.state.revision):
            return  # proposed already; in this term it will be committed, or passed over
        assign = place(
            self.state,
            collections=self._instance.wanted(self.state.shares.keys()),
            live={node for node in self._raft.configuration.voters if self._answers(node)},
            policy=Spread() if self._instance.assignment == "spread" else OnLeader(self.node),
        )
        if assign is None:
            return
        try:
            self._raft.propose(encode_command(assign))
        except RefusedError:
            return
        self._placed = (term, self.state.revision)
        self._wake()

    def _answers(self, node: NodeId) -> bool:
        longest = self._pace.raft.min_election_ticks
        return node == self.node or self._silence.turns(node, self._turn) < longest

    def _note_leader(self) -> None:
        """Begin to count silence when this instance is elected.

        Whoever was not heard before has the time of a follower to answer, except the leader that
        this instance waited for in vain.
        """
        leader = self._raft.soft_state.leader
        if leader == self._leader:
            return
        if leader is None:
            self._log.info("cluster.leader_lost", term=self._raft.soft_state.term)
        else:
            self._log.info(
                "cluster.leader_elected",
                leader=leader,
                name=self._name_of(leader),
                term=self._raft.soft_state.term,
            )
        members = self._raft.configuration.members
        if self._leader == self.node:
            self._silence.cease_to_lead(members - {self.node}, self._turn)
        if leader == self.node:
            self._silence.begin_to_lead(members - {self._last_leader}, self._turn)
            for node in self._silence.gone & members:
                self._log_gone(node)
        self._last_leader, self._leader = leader or self._last_leader, leader

    def _log_gone(self, node: NodeId) -> None:
        """Say that a member's process has ended. Only a leader knows for sure who was to go."""
        (self._log.warning if node in self.state.members else self._log.info)(
            "cluster.member_gone", node=node, name=self._name_of(node)
        )

    def _name_of(self, node: NodeId) -> str | None:
        member = self.state.members.get(node)
        return member.name if member else None
