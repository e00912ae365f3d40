"""What stands in the rows of the database, and the checksums that tie them together.

SQLite has no checksums for its pages, so the rows have their own. The snapshot begins a chain:
each entry's checksum covers the entry and the checksum before it. The state holds the last of the
chain, so a row that is damaged, missing, or an old version that a lost write left in place makes
the rest wrong.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass

import orjson

from mnc.cluster.entry_codec import (
    decode_configuration,
    decode_payload,
    encode_configuration,
    encode_payload,
)
from mnc.cluster.messages import GroupId
from mnc.raft import Entry, HardState, NodeId, Snapshot

__all__ = [
    "EntryRow",
    "SnapshotRow",
    "State",
    "StateRow",
    "entry_row",
    "read_entry",
    "read_snapshot",
    "read_state",
    "snapshot_row",
    "state_row",
]

StateRow = tuple[bytes, int]
"""JSON, checksum."""

SnapshotRow = tuple[int, int, bytes, bytes, int]
"""Index, term, configuration, data, checksum."""

EntryRow = tuple[int, int, bytes, int]
"""Index, term, payload, checksum."""


@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    """The row that changes with every save."""

    node: NodeId
    group: GroupId | None
    saves: int
    """How often something was stored; 0 for a new disk."""
    hard_state: HardState
    log_checksum: int
    """The last checksum of the chain."""


def state_row(state: State) -> StateRow:
    """Write a state."""
    content = orjson.dumps(
        {
            "node": state.node,
            "group": state.group,
            "saves": state.saves,
            "term": state.hard_state.term,
            "vote": state.hard_state.vote,
            "log_checksum": state.log_checksum,
        }
    )
    return content, _checksum(content)


def read_state(row: object) -> State:
    """Read what `state_row` has written. Raises ValueError for anything else."""
    match row:
        case (bytes(content), int(checksum)) if checksum == _checksum(content):
            fields = orjson.loads(content)
            return State(
                node=NodeId(fields["node"]),
                group=fields["group"],
                saves=fields["saves"],
                hard_state=HardState(term=fields["term"], vote=fields["vote"]),
                log_checksum=fields["log_checksum"],
            )
        case _:
            raise ValueError("the state is damaged")


def snapshot_row(snapshot: Snapshot) -> SnapshotRow:
    """Write a snapshot."""
    configuration = encode_configuration(snapshot.configuration)
    fields = (snapshot.index, snapshot.term, configuration, snapshot.data)
    return *fields, _checksum(*fields)


def read_snapshot(row: object) -> Snapshot:
    """Read what `snapshot_row` has written. Raises ValueError for anything else."""
    match row:
        case (int(index), int(term), bytes(configuration), bytes(data), int(checksum)) if (
            checksum == _checksum(index, term, configuration, data)
        ):
            return Snapshot(
                index=index,
                term=term,
                configuration=decode_configuration(configuration),
                data=data,
            )
        case _:
            raise ValueError("the snapshot is damaged")


def entry_row(entry: Entry, previous_checksum: int) -> EntryRow:
    """Write an entry that follows a row with the checksum `previous_checksum`."""
    fields = (entry.index, entry.term, encode_payload(entry.payload))
    return *fields, _checksum(previous_checksum, *fields)


def read_entry(row: object, previous_checksum: int) -> Entry:
    """Read what `entry_row` has written. Raises ValueError for anything else."""
    match row:
        case (int(index), int(term), bytes(payload), int(checksum)) if checksum == _checksum(
            previous_checksum, index, term, payload
        ):
            return Entry(index=index, term=term, payload=decode_payload(payload))
        case _:
            raise ValueError("an entry of the log is damaged")


def _checksum(*fields: int | bytes) -> int:
    """Return the CRC-32 of the fields with their lengths: it finds damage, not malice."""
    value = 0
    for field in fields:
        data = field if isinstance(field, bytes) else b"%d" % field
        value = zlib.crc32(data, zlib.crc32(b"%d:" % len(data), value))
    return value
