"""The payload of a log entry as bytes, on disks and on the network. Pure.

A letter says what it is: `c` a command, which follows as it is; `m` the members, in JSON; `n` the
beginning of a term. Disks outlive versions, so a letter keeps its meaning for ever.
"""

from __future__ import annotations

import orjson

from mnc.raft import Configuration, NodeId, NoOp, Payload

__all__ = ["decode_payload", "encode_payload"]

_COMMAND = b"c"
_MEMBERS = b"m"
_NO_OP = b"n"


def encode_payload(payload: Payload) -> bytes:
    """Return `payload` as bytes; equal payloads give equal bytes."""
    match payload:
        case bytes():
            return _COMMAND + payload
        case Configuration(voters=voters, learners=learners):
            members = {"voters": sorted(voters), "learners": sorted(learners)}
            return _MEMBERS + orjson.dumps(members)
        case NoOp():
            return _NO_OP


def decode_payload(data: bytes) -> Payload:
    """Return what `encode_payload` was given. Raises ValueError for anything else."""
    kind, rest = data[:1], data[1:]
    if kind == _COMMAND:
        return rest
    if kind == _MEMBERS:
        match orjson.loads(rest):
            case {"voters": [*voters], "learners": [*learners]}:
                return Configuration(voters=_nodes(voters), learners=_nodes(learners))
    if data == _NO_OP:
        return NoOp()
    raise ValueError(f"not an entry's payload: {len(data)} bytes of kind {kind!r}")


def _nodes(names: list[object]) -> frozenset[NodeId]:
    if not all(isinstance(name, str) for name in names):
        raise ValueError("a member's name is no text")
    return frozenset(NodeId(str(name)) for name in names)
