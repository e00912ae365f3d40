"""What the replicated log adds up to: who works, and who owns which collection. Pure.

Every member applies the same commands in the same order, so all of them have the same state. A
command is delivered at least once, and maybe long after it was sent: each says what it rests on (an
incarnation, an epoch, a revision), and changes nothing when that has passed.

Encoded as JSON in UTF-8, with a version. Whatever changes the meaning of a command, or adds one,
needs a new version.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Final, TypeVar, assert_never

import orjson

from mnc.errors import ClusterError
from mnc.model import Epoch
from mnc.raft import NodeId

__all__ = [
    "Assign",
    "ClusterState",
    "Command",
    "Join",
    "Leave",
    "Member",
    "Release",
    "Share",
    "apply",
    "carried_over",
    "decode_command",
    "decode_state",
    "encode_command",
    "encode_state",
    "initial_state",
]

_VERSION: Final = 1

_K = TypeVar("_K", bound=str)
_V = TypeVar("_V")


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """An instance that works, or would."""

    name: str
    """What a person calls it."""
    incarnation: str
    """Its process; a name that is never used again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Share:
    """One collection's owner."""

    owner: NodeId
    epoch: Epoch
    """Newer than that of every owner before."""
    heir: NodeId | None = None
    """Who becomes the owner as soon as `owner` has released the collection; None for nobody."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterState:
    """The replicated state.

    Invariants: `next_epoch` is above every epoch in `shares`. No owner is its own heir.
    """

    generation: int
    """The generation of the group whose state this is."""
    next_epoch: int
    """The epoch of the next new owner."""
    revision: int = 0
    """How many commands have changed something."""
    members: Mapping[NodeId, Member] = field(default_factory=dict)
    """Who has joined and not left."""
    shares: Mapping[str, Share] = field(default_factory=dict)
    """By collection. One that isn't here has no owner."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Join:
    """Ask for work; a new process of a member takes the place of the one before.

    One that comes late may name a process that is gone. So whoever doesn't find its own incarnation
    in the state joins again.
    """

    node: NodeId
    name: str
    incarnation: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Leave:
    """Ask for no more work. What the node owns stays with it until it is released or granted."""

    node: NodeId
    incarnation: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Assign:
    """Change who owns what, if nothing has changed since `revision`. `place` makes these."""

    revision: int
    grants: Mapping[str, NodeId] = field(default_factory=dict)
    """The owner from now on, with a new epoch, whoever owns the collection now: nobody, somebody
    who is gone, or the same node, whose heir is gone."""
    handovers: Mapping[str, NodeId] = field(default_factory=dict)
    """The heir. Passed over for a collection that nobody owns."""
    withdrawn: frozenset[str] = frozenset()
    """What isn't watched any more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Release:
    """Say that the owner has stored all that it read; it does nothing more in this epoch."""

    collection: str
    node: NodeId
    epoch: Epoch


Command = Assign | Join | Leave | Release


def initial_state(generation: int, *, first_epoch: int) -> ClusterState:
    """Return the state that a group without a past begins with.

    Whoever founds it takes `first_epoch` from a clock, in milliseconds since 1970: epochs stand in
    the stream, which may be older than anything that the group knows.
    """
    return ClusterState(generation=generation, next_epoch=first_epoch)


def carried_over(state: ClusterState, generation: int, *, first_epoch: int) -> ClusterState:
    """Return what a group of a later generation begins with after one that ended in `state`.

    Everybody keeps what they own, in a new epoch: the old group may have gone on a little. See
    `initial_state`; a clock that was set back doesn't matter.
    """
    granted = {name: share.owner for name, share in state.shares.items()}
    first = max(state.next_epoch, first_epoch)
    return _granted(replace(state, generation=generation, next_epoch=first, shares={}), granted)


def apply(state: ClusterState, command: Command) -> ClusterState:
    """Return the state after a command: the same if the command is a repeat, or comes too late."""
    match command:
        case Join(node=node, name=name, incarnation=incarnation):
            member = Member(name=name, incarnation=incarnation)
            after = replace(state, members={**state.members, node: member})
        case Leave():
            after = _left(state, command)
        case Assign():
            after = _assigned(state, command)
        case Release():
            after = _released(state, command)
        case _:
            assert_never(command)
    return state if after == state else replace(after, revision=state.revision + 1)


def _left(state: ClusterState, command: Leave) -> ClusterState:
    member = state.members.get(command.node)
    if member is None or member.incarnation != command.incarnation:
        return state
    return replace(state, members=_without(state.members, frozenset({command.node})))


def _assigned(state: ClusterState, command: Assign) -> ClusterState:
    if command.revision != state.revision:
        return state
    shares = _without(state.shares, command.withdrawn)
    for name, heir in command.handovers.items():
        share = shares.get(name)
        if share is not None and heir in state.members and heir != share.owner:
            shares[name] = replace(share, heir=heir)
    granted = {name: node for name, node in command.grants.items() if node in state.members}
    return _granted(replace(state, shares=shares), granted)


def _released(state: ClusterState, command: Release) -> ClusterState:
    share = state.shares.get(command.collection)
    if share is None or (share.owner, share.epoch) != (command.node, command.epoch):
        return state
    if share.heir is not None and share.heir in state.members:
        return _granted(state, {command.collection: share.heir})
    return replace(state, shares=_without(state.shares, frozenset({command.collection})))


def _granted(state: ClusterState, owners: Mapping[str, NodeId]) -> ClusterState:
    """Give collections to owners, in the order of their names, so that all members agree."""
    epochs = range(state.next_epoch, state.next_epoch + len(owners))
    shares = {
        name: Share(owner=owners[name], epoch=Epoch(epoch))
        for name, epoch in zip(sorted(owners), epochs, strict=True)
    }
    return replace(state, next_epoch=epochs.stop, shares={**state.shares, **shares})


def _without(mapping: Mapping[_K, _V], keys: frozenset[_K]) -> dict[_K, _V]:
    return {key: value for key, value in mapping.items() if key not in keys}


def encode_command(command: Command) -> bytes:
    """Return a command as it stands in the log."""
    document = {"version": _VERSION, type(command).__name__: command}
    return orjson.dumps(document, default=sorted)  # sorted: the frozenset of Assign


def decode_command(data: bytes) -> Command:
    """Read a command.

    Raises ClusterError for one that this version of mnc doesn't know. A member that passed over it
    would have another state than the rest from then on, so it has to stop, and waits for its
    upgrade. A leader must decode what it is asked to propose BEFORE it does: dropping that costs
    nothing, while a command in the log stops every member that can't read it.
    """
    match _document(data):
        case {
            "Join": {
                "node": str(node),
                "name": str(name),
                "incarnation": str(incarnation),
            }
        }:
            return Join(node=NodeId(node), name=name, incarnation=incarnation)
        case {"Leave": {"node": str(node), "incarnation": str(incarnation)}}:
            return Leave(node=NodeId(node), incarnation=incarnation)
        case {
            "Assign": {
                "revision": int(revision),
                "grants": dict(grants),
                "handovers": dict(handovers),
                "withdrawn": list(withdrawn),
            }
        }:
            return Assign(
                revision=revision,
                grants=_nodes(grants),
                handovers=_nodes(handovers),
                withdrawn=frozenset(map(str, withdrawn)),
            )
        case {"Release": {"collection": str(name), "node": str(node), "epoch": int(epoch)}}:
            return Release(collection=name, node=NodeId(node), epoch=Epoch(epoch))
        case _:
            raise _unreadable()


def encode_state(state: ClusterState) -> bytes:
    """Return a state as it stands in a snapshot."""
    return orjson.dumps({"version": _VERSION, "state": state})


def decode_state(data: bytes) -> ClusterState:
    """Read a state.

    Raises ClusterError for one that this version of mnc doesn't know; see `decode_command`.
    """
    match _document(data):
        case {
            "state": {
                "generation": int(generation),
                "next_epoch": int(next_epoch),
                "revision": int(revision),
                "members": dict(members),
                "shares": dict(shares),
            }
        }:
            return ClusterState(
                generation=generation,
                next_epoch=next_epoch,
                revision=revision,
                members={NodeId(str(node)): _member(found) for node, found in members.items()},
                shares={str(name): _share(found) for name, found in shares.items()},
            )
        case _:
            raise _unreadable()


def _document(data: bytes) -> object:
    try:
        document = orjson.loads(data)
    except orjson.JSONDecodeError as error:
        raise _unreadable() from error
    match document:
        case {"version": version} if version == _VERSION:
            return document
        case _:
            raise _unreadable()


def _nodes(document: Mapping[object, object]) -> Mapping[str, NodeId]:
    return {str(name): NodeId(str(node)) for name, node in document.items()}


def _member(document: object) -> Member:
    match document:
        case {"name": str(name), "incarnation": str(incarnation)}:
            return Member(name=name, incarnation=incarnation)
        case _:
            raise _unreadable()


def _share(document: object) -> Share:
    match document:
        case {"owner": str(owner), "epoch": int(epoch), "heir": str() | None as heir}:
            return Share(
                owner=NodeId(owner),
                epoch=Epoch(epoch),
                heir=None if heir is None else NodeId(heir),
            )
        case _:
            raise _unreadable()


def _unreadable() -> ClusterError:
    return ClusterError(
        "the cluster's log has an entry that this version of mnc can't read",
        remedy="run the version of the other instances, or a newer one",
    )
