"""Facts about the servers, as the drivers collect them: no judgement, no I/O, no secret."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from mnc.errors import CheckpointError, SinkError, SourceError
from mnc.model import Checkpoint, ClusterTime

__all__ = [
    "AccountFacts",
    "MongoFacts",
    "NatsFacts",
    "OplogFacts",
    "Privilege",
    "StreamFacts",
    "Topology",
]

Topology = Literal["replica set", "sharded cluster", "standalone"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Privilege:
    """Actions that a user may take on a resource."""

    database: str
    """Empty for every database."""
    collection: str
    """Empty for every collection."""
    actions: frozenset[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class OplogFacts:
    """The oplog of the server that was asked."""

    first: ClusterTime
    last: ClusterTime
    used_bytes: int
    max_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class MongoFacts:
    """What MongoDB says of itself. None stands for what the user isn't allowed to know."""

    address: str
    version: tuple[int, ...]
    topology: Topology
    set_name: str
    """Empty unless it is a replica set."""
    is_writable: bool
    majority_lag_s: float | None
    """How far what a majority has confirmed is behind the last write; None but on replica sets."""
    members: Mapping[str, str] | None
    """The state of each member of the replica set by its name, as `rs.status()` has it."""
    write_majority: int
    """How many members have to confirm a write; 0 when `members` is None."""
    database: str
    """The one in MONGO_URI."""
    databases: Sequence[str]
    """Those with something to watch."""
    missing_databases: Collection[str]
    """Those that don't exist yet, as far as the user may know."""
    watched: Sequence[str]
    kinds: Mapping[str, str] | None
    """What each watched name is: `collection`, `view`, `timeseries`; those that exist."""
    stream_errors: Mapping[str, SourceError] = field(default_factory=dict)
    """Why no change stream could be opened on a database."""
    tokens_collection: str
    checkpoints: Mapping[str, Checkpoint] | CheckpointError = field(default_factory=dict)
    """The token documents of the watched collections, those that exist."""
    privileges: Sequence[Privilege] | None
    """The user's; None when nobody is logged in."""
    oplog: OplogFacts | None
    cluster_time: ClusterTime | None
    clock_ahead_s: float
    """How far the server's clock is ahead of this machine's."""
    round_trip_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamFacts:
    """A stream that exists. 0 stands for no limit."""

    messages: int
    lacks: Sequence[str]
    """What `mnc serve` will add to it, if it may."""
    takes_events: bool = True
    """Whether it stores the events' subjects as it is."""
    takes_batches: bool = True
    """Whether it lacks nothing of what publishing can't do without; a place for dead letters can be
    missing."""
    update_command: str = ""
    """What an operator can run to give it what atomic batches need."""
    storage: str = "file"
    retention: str = "limits"
    discard: str = "new"
    replicas: int = 1
    max_messages: int = 0
    max_bytes: int = 0
    max_age_s: float = 0
    max_messages_per_subject: int = 0
    max_message_bytes: int = 0
    duplicate_window_s: float = 120
    obstacle: tuple[str, str] | None = None
    """Why it can't keep events safely, and the remedy."""
    markers: Mapping[str, Checkpoint] = field(default_factory=dict)
    """The position markers of the watched collections, those that exist."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AccountFacts:
    """JetStream, as the account of the user sees it. None stands for what the user may not ask."""

    stored_bytes: int | None
    storage_limit_bytes: int | None
    """The account's; None also for no limit."""
    is_clustered: bool
    stream: StreamFacts | None
    """None when it doesn't exist yet."""
    overlapping: Collection[str] | None
    """Other streams that have subjects of this one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NatsFacts:
    """What NATS says of itself and of one stream."""

    address: str
    stream: str
    subjects: Sequence[str]
    """What the stream has to store."""
    version: tuple[int, int, int]
    max_payload_bytes: int
    denied: Collection[str] | None
    """Subjects that the user needs and may not publish to; None when the server doesn't tell."""
    account: AccountFacts | SinkError
    """Or why JetStream can't be used."""
    without_batches: SinkError | None = None
    """Why events won't be published in atomic batches; None when they will."""
