"""Messages between instances as bytes, and what is refused."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import orjson
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from tests.unit.cluster.messages import groups, messages

from mnc.cluster.messages import ClusterMessage, GroupId, Hello
from mnc.cluster.wire import (
    WIRE_VERSION,
    Envelope,
    ForeignMessageError,
    Stamp,
    decode,
    encode,
    scope,
)
from mnc.raft import AppendEntries, Ballot, Entry, NodeId, NoOp, RequestVote

_STAMP = Stamp(size=3, scope=scope(database="shop", stream="cs"))
_HELLO = Hello(
    sender=NodeId("a"), name="pod-0", group=None, last_term=0, last_index=0, leaderless_s=0.5
)

_json = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


def _fields(message: ClusterMessage = _HELLO) -> dict[str, Any]:
    fields: dict[str, Any] = orjson.loads(
        encode(Envelope(group=None, message=message), stamp=_STAMP)
    )
    return fields


def _refusal(data: bytes) -> ForeignMessageError:
    with pytest.raises(ForeignMessageError) as caught:
        decode(data, stamp=_STAMP)
    return caught.value


# --- what is understood ---------------------------------------------------------------------------


@given(message=messages, group=groups)
def test_message_comes_back(message: ClusterMessage, group: GroupId | None) -> None:
    """An instance of the same stamp reads what was sent, with the group of the sender."""
    envelope = Envelope(group=group, message=message)
    assert decode(encode(envelope, stamp=_STAMP), stamp=_STAMP) == envelope


def test_form_is_that_of_its_version() -> None:
    """What version 1 writes doesn't change: instances of one version understand one another."""
    message = AppendEntries(
        sender=NodeId("a"),
        receiver=NodeId("b"),
        term=2,
        round=7,
        previous_index=1,
        previous_term=1,
        entries=(
            Entry(index=2, term=2, payload=NoOp()),
            Entry(index=3, term=2, payload=b"\xff"),
        ),
        commit_index=1,
    )
    assert WIRE_VERSION == 1
    assert _fields(message) == {
        "version": 1,
        "sender": "a",
        "size": 3,
        "scope": "828a5834cc3bc148",
        "group": None,
        "kind": "AppendEntries",
        "message": {
            "receiver": "b",
            "term": 2,
            "round": 7,
            "previous_index": 1,
            "previous_term": 1,
            "entries": [
                {"index": 2, "term": 2, "payload": "AA=="},
                {"index": 3, "term": 2, "payload": "Af8="},
            ],
            "commit_index": 1,
        },
    }


def test_scope_tells_names_apart() -> None:
    """Another database or another stream is another scope, however the names are cut."""
    scopes = {
        scope(database="a", stream="bc"),
        scope(database="ab", stream="c"),
        scope(database="abc", stream=""),
    }
    assert len(scopes) == 3


# --- what is refused ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"version": 2}, "other version: 2"),
        ({"version": 2, "size": 5, "kind": "Later", "message": 0}, "other version: 2"),
        ({"size": 5}, "other size: 5"),
        ({"scope": scope(database="shop", stream="other")}, "other scope"),
        ({"kind": "Later"}, "not understood"),
        ({"message": None}, "not understood"),
        ({"group": 1}, "not understood"),
    ],
)
def test_another_cluster_is_refused(change: dict[str, object], reason: str) -> None:
    """What doesn't belong to this cluster is refused with the reason and the sender's name."""
    error = _refusal(orjson.dumps({**_fields(), **change}))
    assert (error.reason, error.sender) == (reason, "a")


@pytest.mark.parametrize("name", ["", "a.b", "a b", "*", ">", "a\r\nPUB x 0", "a" * 65, None])
def test_sender_that_fits_no_subject_is_refused(name: str | None) -> None:
    """Nobody is answered whose name would make a wrong subject, and end the connection."""
    assert _refusal(orjson.dumps({**_fields(), "sender": name})).sender is None


@pytest.mark.parametrize("key", _fields())
def test_nothing_may_be_missing(key: str) -> None:
    """Each part of the envelope is needed."""
    fields = _fields()
    del fields[key]
    assert _refusal(orjson.dumps(fields)).reason == "not understood"


@given(data=st.binary() | _json.map(orjson.dumps))
@example(b"[" * 100_000)
def test_garbage_is_refused(data: bytes) -> None:
    """Bytes of somebody else are refused, and do no other harm."""
    assert _refusal(data).reason == "not understood"


@given(message=messages, draw=st.data())
def test_damage_is_refused_or_harmless(message: ClusterMessage, draw: st.DataObject) -> None:
    """A message with one wrong value is refused or read as some message, and no other error."""
    fields = _fields(message)
    place = draw.draw(st.sampled_from([fields, fields["message"]]))
    if place:
        place[draw.draw(st.sampled_from(sorted(place)))] = draw.draw(_json)
    with suppress(ForeignMessageError):
        decode(orjson.dumps(fields), stamp=_STAMP)


def test_unknown_ballot_is_refused() -> None:
    """A vote is only asked for in a way that is known."""
    fields = _fields(
        RequestVote(
            sender=NodeId("a"),
            receiver=NodeId("b"),
            term=1,
            ballot=Ballot.ELECTION,
            last_index=0,
            last_term=0,
        )
    )
    fields["message"]["ballot"] = "landslide"
    assert _refusal(orjson.dumps(fields)).reason == "not understood"
