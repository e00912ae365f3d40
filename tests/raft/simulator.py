"""A group of nodes in virtual time, on a bad network, with disks that lose what was not synced.

Everything that happens follows from a seed. Events happen one at a time, each at its own time, and
the oracle looks after each. For a while everything may fail; then the faults end, and the group has
to come to a leader and to commit what it is given, everywhere.
"""

from __future__ import annotations

import heapq
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from tests.raft.disk import SimulatedDisk
from tests.raft.network import SimulatedNetwork
from tests.raft.oracle import BrokenInvariantError, Oracle

from mnc.raft import (
    AddLearner,
    Entry,
    Message,
    NodeId,
    Persisted,
    Promote,
    Raft,
    RaftSettings,
    Ready,
    RefusedError,
    Remove,
    Role,
    SoftState,
    bootstrap,
)

__all__ = [
    "CHANGING",
    "MISTOLD",
    "PROFILES",
    "STEADY",
    "TOLD",
    "Profile",
    "SimulatedNode",
    "Simulation",
    "simulate",
]

TICK_S = 0.15
FAULTS_END_S = 13.0
END_S = 20.0
_SYNC_S = 0.01
_SLOW_SYNC_S = 0.3
_LAST_PROPOSALS = 3
_NOTICE_S = (0.0, 0.02, 0.5)
"""One of these is the longest time in which a driver notices that another process has ended."""
_SETTLE_S = 1.0
"""How long after the last fault a leader may still find out that it was deposed before."""
_SETTINGS = RaftSettings(
    heartbeat_ticks=2,
    min_election_ticks=6,
    max_clock_drift=0.1,
    max_entries_per_append=4,
    max_inflight_appends=3,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """What a schedule may contain."""

    voters: int
    spares: int
    """Nodes that are not members in the beginning, with empty disks."""
    faults: tuple[str, ...]
    """Drawn from evenly; what stands there twice comes twice as often."""
    fault_every_s: float
    tells_of_crashes: bool = False
    """Whether nodes are told that the process of another one has ended."""

    @property
    def has_leases(self) -> bool:
        """Whether a lease that a leader believes in is one: what nodes are told is true."""
        return "misreport" not in self.faults


_FAULTS = ("crash", "crash", "split", "split", "join", "pause", "transfer", "compact")

STEADY = Profile(voters=3, spares=0, faults=_FAULTS, fault_every_s=0.8)
"""Three nodes that stay members."""

CHANGING = Profile(voters=3, spares=2, faults=(*_FAULTS, *["change"] * 8), fault_every_s=0.5)
"""Two to five nodes that come and go."""

TOLD = replace(CHANGING, tells_of_crashes=True)
"""The same, and who crashes is reported to the others, to each when its driver notices it."""

MISTOLD = replace(TOLD, faults=(*TOLD.faults, *["misreport"] * 8))
"""Also nodes that run are reported to have crashed. Everything holds then but the leases."""

PROFILES = {"steady": STEADY, "changing": CHANGING, "told": TOLD, "mistold": MISTOLD}


class SimulatedNode:
    """A node's process, which may be down, and its disk, which is not."""

    __slots__ = (
        "applied_index",
        "disk",
        "inbox",
        "incarnation",
        "missed_ticks",
        "name",
        "raft",
        "soft_state",
        "tick_s",
    )

    def __init__(self, name: NodeId, persisted: Persisted) -> None:
        self.name = name
        self.disk = SimulatedDisk(persisted)
        self.raft: Raft | None = None
        """None while the process is down."""
        self.soft_state: SoftState | None = None
        """What it was after the last event."""
        self.incarnation = 0
        """Counts the crashes: what was meant for an earlier process never comes."""
        self.inbox: list[Callable[[], None]] | None = None
        """What has come while the process is stopped; None while it runs."""
        self.missed_ticks = 0
        self.applied_index = 0
        self.tick_s = TICK_S


class Simulation:
    """One schedule: `run` plays it from beginning to end, once."""

    def __init__(
        self, seed: int, profile: Profile, *, trace: Callable[[str], None] | None = None
    ) -> None:
        self._rng = random.Random(seed)
        self._profile = profile
        self._trace = trace
        self._network = SimulatedNetwork(self._rng)
        self._now_s = 0.0
        self._order = 0
        self._events: list[tuple[float, int, Callable[..., None], tuple[Any, ...]]] = []
        self._leaders: list[Raft] = []
        self._proposed = 0
        # While little is proposed, a node that was cut off can still be elected.
        self._propose_every_s = self._rng.choice((0.3, 1.0, 5.0))
        self._last_proposals: Sequence[Entry] = ()
        names = [NodeId(name) for name in "abcdefgh"[: profile.voters + profile.spares]]
        group = bootstrap(frozenset(names[: profile.voters]), Oracle.state(1))
        self._oracle = Oracle(group.snapshot)
        self._nodes = {
            name: SimulatedNode(name, group if position < profile.voters else Persisted())
            for position, name in enumerate(names)
        }

    def run(self) -> None:
        """Play the schedule; raise BrokenInvariantError when the group does wrong."""
        for node in self._nodes.values():
            self._start(node)
        self._after(self._profile.fault_every_s, self._fault)
        self._after(self._propose_every_s, self._propose)
        self._after(FAULTS_END_S, self._heal)
        events = self._events
        while events and events[0][0] <= END_S:
            self._now_s, _, act, arguments = heapq.heappop(events)
            act(*arguments)
        self._check_progress()

    # What happens to a node

    def _start(self, node: SimulatedNode) -> None:
        rng = self._rng
        drift = _SETTINGS.max_clock_drift
        node.tick_s = TICK_S * rng.choice((1 - drift, 1, 1 + drift))
        persisted = node.disk.read()
        node.raft = Raft(
            node.name,
            persisted=persisted,
            settings=_SETTINGS,
            election_timeout_ticks=lambda: 6 + int(rng.random() * rng.random() * 7),
        )
        node.applied_index = persisted.snapshot.index
        self._oracle.on_restored(node.name, persisted.snapshot)
        self._note(node, "starts")
        self._after(rng.random() * node.tick_s, self._tick, node, node.incarnation)

    def _crash(self, node: SimulatedNode) -> None:
        if node.raft in self._leaders:
            self._leaders.remove(node.raft)
        node.disk.crash(self._rng)
        node.raft = None
        node.inbox = None
        node.missed_ticks = 0
        node.incarnation += 1
        self._note(node, "crashes")
        if self._profile.tells_of_crashes:
            for other in self._nodes.values():
                notice_s = self._rng.choice(_NOTICE_S) * self._rng.random()
                self._after(notice_s, self._notice, other, node)

    def _notice(self, node: SimulatedNode, crashed: SimulatedNode) -> None:
        """Tell a node of another one's crash, unless that is up again."""
        if crashed.raft is None:
            self._tell(node, crashed.name)

    def _tell(self, node: SimulatedNode, gone: NodeId) -> None:
        if node.raft is None:
            return
        if node.inbox is not None:
            node.inbox.append(lambda: self._tell(node, gone))
            return
        self._note(node, f"is told that {gone} is gone")
        node.raft.leader_is_gone(gone)
        self._drain(node)

    def _restart(self, node: SimulatedNode) -> None:
        if node.raft is None:
            self._start(node)

    def _resume(self, node: SimulatedNode, incarnation: int) -> None:
        """Go on after a stop, as a driver does: the missed ticks BEFORE anything else."""
        raft = node.raft
        if node.incarnation != incarnation or node.inbox is None or raft is None:
            return
        self._note(node, "goes on")
        for _ in range(node.missed_ticks):
            raft.tick()
        node.missed_ticks = 0
        inbox, node.inbox = node.inbox, None
        self._drain(node)
        for act in inbox:
            act()

    def _tick(self, node: SimulatedNode, incarnation: int) -> None:
        if node.incarnation != incarnation or node.raft is None:
            return
        self._after(node.tick_s, self._tick, node, incarnation)
        if node.inbox is None:
            node.raft.tick()
            self._drain(node)
        else:
            node.missed_ticks += 1

    def _deliver(self, message: Message) -> None:
        node = self._nodes[message.receiver]
        if node.raft is None:
            return
        if node.inbox is not None:
            node.inbox.append(lambda: self._deliver(message))
            return
        if self._trace is not None:
            self._note(node, f"receives {message}")
        node.raft.step(message)
        self._drain(node)

    def _drain(self, node: SimulatedNode) -> None:
        """Handle what the node has ready, unless the disk is busy."""
        raft = node.raft
        if raft is None:
            return
        if node.disk.pending is None and (ready := raft.take_ready()) is not None:
            if ready.entries:
                self._oracle.on_entries(raft, ready.entries)
            if ready.hard_state is None and ready.snapshot is None and not ready.entries:
                self._finish(node, raft, ready)
            else:
                node.disk.write(ready)
                sync_s = self._rng.random() * (
                    _SLOW_SYNC_S if self._rng.random() < 0.1 else _SYNC_S
                )
                self._after(sync_s, self._synced, node, node.incarnation, ready)
        if raft.soft_state is not node.soft_state:
            node.soft_state = raft.soft_state
            self._oracle.on_role(raft)
            self._count_leaders(node, raft)
        if len(self._leaders) > 1 and self._profile.has_leases:
            # A stopped process doesn't ask whether its lease is valid.
            self._oracle.leases([leader for leader in self._leaders if self._is_running(leader)])

    def _synced(self, node: SimulatedNode, incarnation: int, ready: Ready) -> None:
        raft = node.raft
        if node.incarnation != incarnation or raft is None:
            return
        if node.inbox is not None:
            node.inbox.append(lambda: self._synced(node, incarnation, ready))
            return
        node.disk.sync()
        self._finish(node, raft, ready)
        self._drain(node)

    def _finish(self, node: SimulatedNode, raft: Raft, ready: Ready) -> None:
        for message in ready.messages:
            for delay_s in self._network.delays_s(message.sender, message.receiver):
                self._after(delay_s, self._deliver, message)
        if ready.snapshot is not None:
            self._oracle.on_restored(node.name, ready.snapshot)
            node.applied_index = ready.snapshot.index
        if ready.committed:
            self._oracle.on_applied(node.name, ready.committed, ready.soft_state.term)
            if ready.committed[0].index != node.applied_index + 1:
                raise BrokenInvariantError(f"{node.name} skips to {ready.committed[0].index}")
            node.applied_index = ready.committed[-1].index
        raft.advance()

    def _count_leaders(self, node: SimulatedNode, raft: Raft) -> None:
        is_leader = raft.soft_state.role is Role.LEADER
        if is_leader == (raft in self._leaders):
            return
        if is_leader:
            self._note(node, f"leads term {raft.soft_state.term}")
            self._leaders.append(raft)
            self._oracle.on_leader(raft)
        else:
            self._note(node, "leads no more")
            self._leaders.remove(raft)

    def _is_running(self, raft: Raft) -> bool:
        return self._nodes[raft.node].inbox is None

    # What is done to the group

    def _propose(self) -> None:
        self._after(self._propose_every_s, self._propose)
        for raft in list(self._leaders):
            node = self._nodes[raft.node]
            if self._is_running(raft):
                self._propose_to(node, raft)
                self._oracle.on_progress(raft, max_inflight=_SETTINGS.max_inflight_appends)

    def _propose_to(self, node: SimulatedNode, raft: Raft) -> Entry | None:
        self._proposed += 1
        try:
            return raft.propose(b"%d" % self._proposed)
        except RefusedError as error:
            self._note(node, f"refuses: {error}")
            return None
        finally:
            self._drain(node)

    def _fault(self) -> None:
        if self._now_s >= FAULTS_END_S:
            return
        rng = self._rng
        self._after(rng.uniform(0, 2 * self._profile.fault_every_s), self._fault)
        node = rng.choice(list(self._nodes.values()))
        match rng.choice(self._profile.faults):
            case "crash" if node.raft is not None:
                self._crash(node)
                self._after(rng.choice((0.1, 0.5, 2.0)) * rng.random(), self._restart, node)
            case "split":
                cut = self._network.split(list(self._nodes))
                if self._trace is not None:
                    self._trace(f"{self._now_s:9.4f}  {cut}")
            case "join":
                self._network.join()
            case "pause" if node.raft is not None and node.inbox is None:
                self._note(node, "stops")
                node.inbox = []
                self._after(rng.uniform(0.05, 2), self._resume, node, node.incarnation)
            case "compact" if node.raft is not None and node.inbox is None:
                self._compact(node, node.raft)
            case "misreport" if self._leaders:
                self._misreport(rng.choice(self._leaders))
            case "transfer" if self._leaders:
                self._ask_leader(
                    lambda raft: raft.transfer_leadership(rng.choice(list(self._nodes)))
                )
            case "change" if self._leaders:
                self._ask_leader(self._change)
            case _:
                pass

    def _misreport(self, leader: Raft) -> None:
        """Tell most nodes that a leader has ended which runs."""
        rng = self._rng
        for node in self._nodes.values():
            if rng.random() < 0.7:
                notice_s = rng.choice(_NOTICE_S) * rng.random()
                self._after(notice_s, self._tell, node, leader.node)

    def _ask_leader(self, ask: Callable[[Raft], object]) -> None:
        raft = self._rng.choice(self._leaders)
        node = self._nodes[raft.node]
        if node.inbox is not None:
            return
        try:
            self._note(node, f"does {ask(raft)}")
        except RefusedError as error:
            self._note(node, f"refuses: {error}")
        self._drain(node)

    def _change(self, raft: Raft) -> Entry:
        rng = self._rng
        configuration = raft.configuration
        spares = sorted(self._nodes.keys() - configuration.members)
        if configuration.learners and rng.random() < 0.8:
            return raft.change_membership(Promote(rng.choice(sorted(configuration.learners))))
        if spares and rng.random() < 0.6:
            return raft.change_membership(AddLearner(rng.choice(spares)))
        return raft.change_membership(Remove(rng.choice(sorted(configuration.members))))

    def _compact(self, node: SimulatedNode, raft: Raft) -> None:
        index = raft.applied_index
        if index > raft.snapshot.index and node.disk.pending is None:
            self._note(node, f"compacts to {index}")
            node.disk.compact(raft.compact(index, self._oracle.state(index)))

    # The end

    def _heal(self) -> None:
        if self._trace is not None:
            self._trace(f"{self._now_s:9.4f}  everything heals")
        self._network.heal()
        for node in self._nodes.values():
            self._restart(node)
            self._resume(node, node.incarnation)
        self._after(_SETTLE_S, self._propose_at_last)

    def _propose_at_last(self) -> None:
        """Propose to the first leader that a majority follows."""
        for raft in self._leaders:
            if raft.lease_is_valid:
                node = self._nodes[raft.node]
                proposed = [self._propose_to(node, raft) for _ in range(_LAST_PROPOSALS)]
                self._last_proposals = [entry for entry in proposed if entry is not None]
                if self._last_proposals:
                    self._note(node, "takes the last proposals")
                    return
        self._after(TICK_S, self._propose_at_last)

    def _check_progress(self) -> None:
        """Check liveness: what was proposed last is applied by every member."""
        if not self._last_proposals:
            raise BrokenInvariantError("no leader was elected after the faults had ended")
        wanted = self._last_proposals[-1]
        for raft in self._leaders:
            for name in raft.configuration.members:
                applied_index = self._nodes[name].applied_index
                if applied_index < wanted.index:
                    raise BrokenInvariantError(
                        f"{name} has applied {applied_index} instead of {wanted.index}"
                    )
        if self._oracle.committed_at(wanted.index) != wanted:
            raise BrokenInvariantError(f"what was proposed as {wanted.index} is lost")

    def _after(self, delay_s: float, act: Callable[..., None], *arguments: object) -> None:
        self._order += 1
        heapq.heappush(self._events, (self._now_s + delay_s, self._order, act, arguments))

    def _note(self, node: SimulatedNode, what: str) -> None:
        if self._trace is not None:
            self._trace(f"{self._now_s:9.4f}  {node.name} {what}")


def simulate(seed: int, profile: Profile) -> None:
    """Play one schedule; a failure says how to play it again."""
    try:
        Simulation(seed, profile).run()
    except Exception as error:
        name = next(name for name, known in PROFILES.items() if known is profile)
        error.add_note(
            f"again, with a trace: python -m tests.raft.simulate {seed} --profile {name}"
        )
        raise
