"""The Raft consensus algorithm, without clock, randomness or I/O.

A driver owns the time, the disk and the network. It gives a node what happens, with `step`, `tick`
and `propose`, and handles what `take_ready` returns, in this order: store, send, apply, `advance`.

>>> import random
>>> disks = {NodeId(name): bootstrap(frozenset("abc")) for name in "abc"}
>>> group = {
...     name: Raft(
...         name,
...         persisted=disk,
...         settings=RaftSettings(heartbeat_ticks=2, min_election_ticks=10),
...         election_timeout_ticks=lambda: random.randint(10, 20),
...     )
...     for name, disk in disks.items()
... }
>>> applied = {name: [] for name in group}
>>> def handle(node):
...     while (ready := node.take_ready()) is not None:
...         # 1. Store ready.hard_state, ready.snapshot and ready.entries, and sync the disk.
...         for message in ready.messages:  # 2. Send.
...             group[message.receiver].step(message)
...         # 3. Apply: restore ready.snapshot if there is one, then every committed command.
...         for entry in ready.committed:
...             if isinstance(entry.payload, bytes):
...                 applied[node.node].append(entry.payload)
...         node.advance()
>>> def pass_time(ticks):
...     for _ in range(ticks):
...         for node in group.values():
...             node.tick()
...         for node in list(group.values()) * 9:
...             handle(node)
>>> pass_time(100)
>>> [leader] = [node for node in group.values() if node.soft_state.role is Role.LEADER]
>>> leader.lease_is_valid
True
>>> entry = leader.propose(b"pause the lane")
>>> pass_time(10)
>>> applied
{'a': [b'pause the lane'], 'b': [b'pause the lane'], 'c': [b'pause the lane']}

The first voters of a group start from `bootstrap`, everybody else from an empty `Persisted()`, and
joins with `change_membership`; a node that restarts starts from what it has stored. Each begins
with the application's state in `snapshot.data`. `compact` keeps the log short. Messages may be
lost, repeated, delayed and reordered.

Where the rules come from is said at each, by section of the paper (Ongaro & Ousterhout, "In Search
of an Understandable Consensus Algorithm", extended version) and of the dissertation (Ongaro,
"Consensus: Bridging Theory and Practice").
"""

from mnc.raft.errors import Refusal, RefusedError
from mnc.raft.membership import AddLearner, Change, Promote, Remove
from mnc.raft.messages import (
    Appended,
    AppendEntries,
    Ballot,
    Conflict,
    InstallSnapshot,
    Message,
    RequestVote,
    StaleTerm,
    TimeoutNow,
    Vote,
)
from mnc.raft.node import Raft
from mnc.raft.ready import Ready
from mnc.raft.settings import RaftSettings
from mnc.raft.types import (
    Configuration,
    Entry,
    HardState,
    NodeId,
    NoOp,
    Payload,
    Persisted,
    Role,
    Snapshot,
    SoftState,
    bootstrap,
)

__all__ = [
    "AddLearner",
    "AppendEntries",
    "Appended",
    "Ballot",
    "Change",
    "Configuration",
    "Conflict",
    "Entry",
    "HardState",
    "InstallSnapshot",
    "Message",
    "NoOp",
    "NodeId",
    "Payload",
    "Persisted",
    "Promote",
    "Raft",
    "RaftSettings",
    "Ready",
    "Refusal",
    "RefusedError",
    "Remove",
    "RequestVote",
    "Role",
    "Snapshot",
    "SoftState",
    "StaleTerm",
    "TimeoutNow",
    "Vote",
    "bootstrap",
]
