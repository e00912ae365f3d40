"""What an entry of the log holds, as bytes: on the disk and on the wire.

The first byte says what follows, and is the version of that too: what is written otherwise one day
gets another first byte, so that both can be read.

| First byte | Payload | What follows |
| --- | --- | --- |
| 0 | `NoOp` | nothing |
| 1 | a command | its bytes |
| 2 | `Configuration` | JSON: `{"voters": [...], "learners": [...]}`, sorted |
"""

from __future__ import annotations

from typing import assert_never

import orjson

from mnc.raft import Configuration, NodeId, NoOp, Payload

__all__ = ["decode_configuration", "decode_payload", "encode_configuration", "encode_payload"]

_NO_OP = b"\0"
_COMMAND = b"\1"
_CONFIGURATION = b"\2"


def encode_payload(payload: Payload) -> bytes:
    """Write a payload: one byte more than a command, and never empty."""
    match payload:
        case NoOp():
            return _NO_OP
        case Configuration():
            return encode_configuration(payload)
        case bytes():
            return _COMMAND + payload
        case _:
            assert_never(payload)


def decode_payload(data: bytes) -> Payload:
    """Read what `encode_payload` has written. Raises ValueError for anything else."""
    kind, content = data[:1], data[1:]
    if kind == _COMMAND:
        return content
    if data == _NO_OP:
        return NoOp()
    return decode_configuration(data)


def encode_configuration(configuration: Configuration) -> bytes:
    """Write a configuration as a payload; equal ones give equal bytes."""
    return _CONFIGURATION + orjson.dumps(
        {"voters": sorted(configuration.voters), "learners": sorted(configuration.learners)}
    )


def decode_configuration(data: bytes) -> Configuration:
    """Read a payload that is a configuration. Raises ValueError for anything else."""
    if data[:1] != _CONFIGURATION:
        raise ValueError(
            f"found a payload of kind {data[:1].hex() or 'nothing'}; 00 to 02 are known"
        )
    match orjson.loads(data[1:]):
        case {"voters": list(voters), "learners": list(learners)} if all(
            isinstance(name, str) for name in (*voters, *learners)
        ):
            return Configuration(
                voters=frozenset(map(NodeId, voters)), learners=frozenset(map(NodeId, learners))
            )
        case _:
            raise ValueError("found a configuration without lists of voters and learners")
