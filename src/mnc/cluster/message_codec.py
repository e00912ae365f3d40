"""The fields of the messages between instances as JSON. Pure.

They, and the kinds of messages, have the names that they have in `mnc.cluster.messages` and
`mnc.raft`; another name there is another version of `mnc.cluster.wire`. Bytes are base64. The
sender is not among the fields: it stands on the envelope.
"""

from __future__ import annotations

from base64 import b64decode, b64encode
from collections.abc import Mapping
from dataclasses import fields, is_dataclass

from mnc.cluster.entry_codec import decode_payload, encode_payload
from mnc.cluster.messages import ClusterMessage, GroupId, Hello, Probe, Propose
from mnc.raft import (
    Appended,
    AppendEntries,
    Ballot,
    Configuration,
    Conflict,
    Entry,
    InstallSnapshot,
    Message,
    NodeId,
    RequestVote,
    Snapshot,
    StaleTerm,
    TimeoutNow,
    Vote,
)

__all__ = ["plain", "read_message"]


def plain(value: object) -> object:
    """Return what JSON has for a message or a part of it.

    It is made for orjson's `default` with OPT_PASSTHROUGH_DATACLASS, which asks again for the parts
    of what it gets. Raises TypeError for what is no part of a message.
    """
    match value:
        case bytes():
            return b64encode(value).decode()
        case Configuration():
            return encode_payload(value)
        case Entry(index=index, term=term, payload=payload):
            return {"index": index, "term": term, "payload": encode_payload(payload)}
        case AppendEntries() | Appended():
            return _without_sender(value._asdict())
        case _ if is_dataclass(value):
            return _without_sender({each.name: getattr(value, each.name) for each in fields(value)})
        case _:
            raise TypeError(f"{type(value).__name__} is no part of a message")


def _without_sender(named: Mapping[str, object]) -> Mapping[str, object]:
    return {name: value for name, value in named.items() if name != "sender"}


def read_message(kind: str, body: Mapping[str, object], *, sender: NodeId) -> ClusterMessage:
    """Return the message of which `body` has the fields. Raises ValueError when there is none."""
    match kind, body:
        case (
            "Hello",
            {
                "name": str(name),
                "group": (str() | None) as group,
                "last_term": int(last_term),
                "last_index": int(last_index),
                "leaderless_s": float(leaderless_s),
            },
        ):
            return Hello(
                sender=sender,
                name=name,
                group=None if group is None else GroupId(group),
                last_term=last_term,
                last_index=last_index,
                leaderless_s=leaderless_s,
            )
        case "Probe", {"receiver": str(receiver)}:
            return Probe(sender=sender, receiver=NodeId(receiver))
        case "Propose", {"receiver": str(receiver), "command": str(command)}:
            return Propose(sender=sender, receiver=NodeId(receiver), command=_read_bytes(command))
        case _, {"receiver": str(receiver), "term": int(term)}:
            return _read_raft_message(
                kind, body, sender=sender, receiver=NodeId(receiver), term=term
            )
        case _:
            raise ValueError("no message")


def _read_raft_message(
    kind: str, body: Mapping[str, object], *, sender: NodeId, receiver: NodeId, term: int
) -> Message:
    message: Message
    match kind, body:
        case (
            "RequestVote",
            {"ballot": str(ballot), "last_index": int(last_index), "last_term": int(last_term)},
        ):
            message = RequestVote(
                sender=sender,
                receiver=receiver,
                term=term,
                ballot=Ballot(ballot),
                last_index=last_index,
                last_term=last_term,
            )
        case "Vote", {"ballot": str(ballot), "granted": bool(granted)}:
            message = Vote(
                sender=sender,
                receiver=receiver,
                term=term,
                ballot=Ballot(ballot),
                granted=granted,
            )
        case (
            "AppendEntries",
            {
                "round": int(round_),
                "previous_index": int(previous_index),
                "previous_term": int(previous_term),
                "entries": [*entries],
                "commit_index": int(commit_index),
            },
        ):
            message = AppendEntries(
                sender=sender,
                receiver=receiver,
                term=term,
                round=round_,
                previous_index=previous_index,
                previous_term=previous_term,
                entries=tuple(_read_entry(entry) for entry in entries),
                commit_index=commit_index,
            )
        case "InstallSnapshot", {"round": int(round_), "snapshot": snapshot}:
            message = InstallSnapshot(
                sender=sender,
                receiver=receiver,
                term=term,
                round=round_,
                snapshot=_read_snapshot(snapshot),
            )
        case "Appended", {"round": int(round_), "match_index": int(match_index)}:
            message = Appended(
                sender=sender,
                receiver=receiver,
                term=term,
                round=round_,
                match_index=match_index,
            )
        case (
            "Conflict",
            {
                "round": int(round_),
                "previous_index": int(previous_index),
                "conflict_term": (int() | None) as conflict_term,
                "conflict_index": int(conflict_index),
            },
        ):
            message = Conflict(
                sender=sender,
                receiver=receiver,
                term=term,
                round=round_,
                previous_index=previous_index,
                conflict_term=conflict_term,
                conflict_index=conflict_index,
            )
        case "StaleTerm", _:
            message = StaleTerm(sender=sender, receiver=receiver, term=term)
        case "TimeoutNow", _:
            message = TimeoutNow(sender=sender, receiver=receiver, term=term)
        case _:
            raise ValueError("no message")
    return message


def _read_entry(value: object) -> Entry:
    match value:
        case {"index": int(index), "term": int(term), "payload": str(payload)}:
            return Entry(index=index, term=term, payload=decode_payload(_read_bytes(payload)))
        case _:
            raise ValueError("no entry")


def _read_snapshot(value: object) -> Snapshot:
    match value:
        case {
            "index": int(index),
            "term": int(term),
            "configuration": str(members),
            "data": str(data),
        }:
            configuration = decode_payload(_read_bytes(members))
            if isinstance(configuration, Configuration):
                return Snapshot(
                    index=index,
                    term=term,
                    configuration=configuration,
                    data=_read_bytes(data),
                )
    raise ValueError("no snapshot")


def _read_bytes(text: str) -> bytes:
    return b64decode(text, validate=True)
