"""A group that does what a test says, step by step, with nothing left to chance."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from tests.raft.disk import SimulatedDisk
from tests.raft.oracle import Oracle

from mnc.raft import (
    Configuration,
    Entry,
    Message,
    NodeId,
    Persisted,
    Raft,
    RaftSettings,
    Role,
    bootstrap,
)

__all__ = ["ELECTION_TICKS", "SETTINGS", "TIMEOUT_TICKS", "Group", "ids"]

ELECTION_TICKS = 10
TIMEOUT_TICKS = 50
"""Every election time-out, long enough that nobody campaigns unless `elect` says so."""
SETTINGS = RaftSettings(
    heartbeat_ticks=2,
    min_election_ticks=ELECTION_TICKS,
    max_clock_drift=0.05,
    max_entries_per_append=4,
    max_inflight_appends=2,
)


def ids(names: str) -> frozenset[NodeId]:
    """Return the ids of nodes that are named by one letter each."""
    return frozenset(map(NodeId, names))


class Group:
    """Nodes whose messages are delivered by `settle`, unless `lost` says otherwise.

    The oracle looks after each message, and what each node applied is in `applied`.
    """

    def __init__(
        self,
        voters: str,
        *,
        others: str = "",
        disks: Mapping[str, Persisted] | None = None,
        settings: RaftSettings = SETTINGS,
    ) -> None:
        self._settings = settings
        first = bootstrap(ids(voters), Oracle.state(1))
        self._disks = {name: SimulatedDisk(first) for name in voters}
        self._disks |= {name: SimulatedDisk(Persisted()) for name in others}
        self._disks |= {name: SimulatedDisk(persisted) for name, persisted in (disks or {}).items()}
        self._oracle = Oracle(first.snapshot)
        self._leaders: set[Raft] = set()
        self.applied: dict[str, list[Entry]] = {name: [] for name in self._disks}
        self.restored: dict[str, bytes] = {}
        """The data of the last snapshot that a node took over from its leader."""
        self.lost: Callable[[Message], bool] = lambda _: False
        self.sent: list[Message] = []
        """Every message that was sent, lost or not."""
        self._nodes: dict[str, Raft] = {}
        for name in self._disks:
            self.restart(name)

    def __getitem__(self, name: str) -> Raft:
        return self._nodes[name]

    def restart(self, name: str) -> None:
        """Crash a node, and start it again from its disk."""
        persisted = self._disks[name].read()
        self._nodes[name] = Raft(
            NodeId(name),
            persisted=persisted,
            settings=self._settings,
            election_timeout_ticks=lambda: TIMEOUT_TICKS,
        )
        self.applied[name] = []

    def crash(self, name: str) -> None:
        """End a node's process for good; the others aren't told."""
        del self._nodes[name]

    def cut(self, *links: str) -> None:
        """Lose all messages between the two nodes of each link, such as "ab", from now on."""
        pairs = {frozenset(link) for link in links}
        self.lost = lambda message: frozenset((message.sender, message.receiver)) in pairs

    def join(self) -> None:
        """Lose nothing from now on."""
        self.lost = lambda _: False

    def settle(self) -> None:
        """Do what every node has ready, until nobody has anything."""
        while True in [self._handle(name) for name in self._nodes]:
            pass

    def tick(self, names: str, times: int = 1) -> None:
        """Let time pass for some nodes, tick by tick, and settle after each."""
        for _ in range(times):
            for name in names:
                self[name].tick()
            self.settle()

    def elect(self, name: str) -> None:
        """Let nobody be loyal any more and `name` campaign."""
        for other, node in self._nodes.items():
            for _ in range(TIMEOUT_TICKS if other == name else ELECTION_TICKS):
                node.tick()
        self.settle()

    def leaders(self) -> str:
        """Return the names of those that take themselves for the leader."""
        return "".join(
            name for name, node in self._nodes.items() if node.soft_state.role is Role.LEADER
        )

    def commands(self, name: str) -> list[bytes]:
        """Return the commands that a node has applied."""
        return [entry.payload for entry in self.applied[name] if isinstance(entry.payload, bytes)]

    def configuration(self, name: str) -> tuple[str, str]:
        """Return the voters and the learners as a node has them."""
        configuration: Configuration = self[name].configuration
        return "".join(sorted(configuration.voters)), "".join(sorted(configuration.learners))

    def compact(self, name: str) -> None:
        """Compact a node's log as far as it is applied."""
        index = self[name].applied_index
        self._disks[name].compact(self[name].compact(index, self._oracle.state(index)))

    def deliver(self, message: Message) -> None:
        """Hand over one message, as if it had been delayed until now."""
        self[message.receiver].step(message)
        self.settle()

    def _handle(self, name: str) -> bool:
        raft = self[name]
        ready = raft.take_ready()
        if ready is None:
            return False
        self._disks[name].write(ready)
        self._disks[name].sync()
        if ready.entries:
            self._oracle.on_entries(raft, ready.entries)
        if ready.snapshot is not None:
            self.restored[name] = ready.snapshot.data
            self.applied[name] = []
        self._oracle.on_applied(raft.node, ready.committed, ready.soft_state.term)
        self.applied[name] += ready.committed
        raft.advance()
        self._watch()
        for message in ready.messages:
            self.sent.append(message)
            if not self.lost(message) and message.receiver in self._nodes:
                self[message.receiver].step(message)
                self._watch()
        return True

    def _watch(self) -> None:
        leaders = {raft for raft in self._nodes.values() if raft.soft_state.role is Role.LEADER}
        for raft in leaders - self._leaders:
            self._oracle.on_leader(raft)
        self._leaders = leaders
        self._oracle.leases(tuple(leaders))
