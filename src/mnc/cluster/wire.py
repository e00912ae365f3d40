"""What instances send to one another as bytes. Pure.

Theory of operation. A message travels in an envelope: a JSON object with the version of the
encoding, the sender, and a stamp of what all instances of a cluster must have in common. Whoever
has another stamp shares the subjects and not the cluster, by mistake or during an upgrade: it is
refused with a reason, so that a person can be told. `version` and `sender` keep their meaning in
all versions; another one is refused whatever it says, for what is understood in part is worse than
what is lost.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import orjson

from mnc.cluster.message_codec import plain, read_message
from mnc.cluster.messages import ClusterMessage, GroupId
from mnc.raft import NodeId

__all__ = ["WIRE_VERSION", "Envelope", "ForeignMessageError", "Stamp", "decode", "encode", "scope"]

WIRE_VERSION: Final = 1
"""Counts up with each change that instances of the version before would misunderstand."""

_NODE = re.compile(r"[A-Za-z0-9_-]{1,64}")
"""Names of nodes become parts of subjects, so a wrong one could end the connection."""

_SCOPE_DIGITS = 16
_NOT_UNDERSTOOD = "not understood"


@dataclass(frozen=True, slots=True, kw_only=True)
class Stamp:
    """What all instances of one cluster have in common."""

    size: int
    """RAFT_CLUSTER_SIZE."""
    scope: str
    """What the cluster does, as `scope` returns it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Envelope:
    """A message, and the group that its sender was in when it sent it."""

    group: GroupId | None
    message: ClusterMessage


class ForeignMessageError(Exception):
    """A message is not from an instance of this cluster, or of another version."""

    def __init__(self, reason: str, *, sender: str | None) -> None:
        super().__init__(reason)
        self.reason = reason
        """Is for people: `other version`, `other size`, each with the number that was found, `other
        scope`, or `not understood`."""
        self.sender = sender
        """Who sent it; None when not even that can be read."""


def scope(*, database: str, stream: str) -> str:
    """Return a short digest of what a cluster keeps in step with what."""
    names = orjson.dumps([database, stream])
    return hashlib.sha256(names).hexdigest()[:_SCOPE_DIGITS]


def encode(envelope: Envelope, *, stamp: Stamp) -> bytes:
    """Return what `decode` understands, in an instance of the same stamp."""
    message = envelope.message
    return orjson.dumps(
        {
            "version": WIRE_VERSION,
            "sender": message.sender,
            "size": stamp.size,
            "scope": stamp.scope,
            "group": envelope.group,
            "kind": type(message).__name__,
            "message": message,
        },
        default=plain,
        option=orjson.OPT_PASSTHROUGH_DATACLASS,
    )


def decode(data: bytes, *, stamp: Stamp) -> Envelope:
    """Return what `encode` was given. Raises ForeignMessageError for anything else."""
    try:
        value = orjson.loads(data)
    except orjson.JSONDecodeError as error:
        raise ForeignMessageError(_NOT_UNDERSTOOD, sender=None) from error
    envelope = value if isinstance(value, dict) else {}
    sender = envelope.get("sender")
    if not isinstance(sender, str) or not _NODE.fullmatch(sender):
        raise ForeignMessageError(_NOT_UNDERSTOOD, sender=None)
    difference = _difference(envelope, stamp)
    if difference is not None:
        raise ForeignMessageError(difference, sender=sender)
    try:
        return _read_envelope(NodeId(sender), envelope)
    except ValueError as error:
        raise ForeignMessageError(_NOT_UNDERSTOOD, sender=sender) from error


def _difference(envelope: Mapping[str, object], stamp: Stamp) -> str | None:
    """Say what the envelope's sender doesn't have in common with us."""
    match envelope:
        case {"version": int(version)} if version != WIRE_VERSION:
            return f"other version: {version}"
        case {"size": int(size)} if size != stamp.size:
            return f"other size: {size}"
        case {"scope": str(scope)} if scope != stamp.scope:
            return "other scope"
        case {"version": int(), "size": int(), "scope": str()}:
            return None
        case _:
            return _NOT_UNDERSTOOD


def _read_envelope(sender: NodeId, envelope: Mapping[str, object]) -> Envelope:
    match envelope:
        case {"group": (str() | None) as group, "kind": str(kind), "message": dict(body)}:
            return Envelope(
                group=None if group is None else GroupId(group),
                message=read_message(kind, body, sender=sender),
            )
        case _:
            raise ValueError("no envelope")
