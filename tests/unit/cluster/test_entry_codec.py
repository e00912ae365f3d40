"""Entries' payloads as bytes."""

from __future__ import annotations

from contextlib import suppress

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.cluster.messages import payloads

from mnc.cluster.entry_codec import decode_payload, encode_payload
from mnc.raft import Configuration, NodeId, NoOp, Payload


@given(payload=payloads)
def test_payload_comes_back(payload: Payload) -> None:
    """Whatever an entry holds is decoded as it was encoded."""
    assert decode_payload(encode_payload(payload)) == payload


def test_members_are_sorted() -> None:
    """Equal configurations give equal bytes, in whatever order their sets are iterated."""
    names = [str(number) for number in range(9)]
    configuration = Configuration(voters=frozenset(map(NodeId, names)))
    assert encode_payload(configuration) == b"m" + orjson.dumps({"voters": names, "learners": []})


@pytest.mark.parametrize(
    ("payload", "data"),
    [
        (b"\x00\xff", b"c\x00\xff"),
        (NoOp(), b"n"),
        (
            Configuration(voters=frozenset({NodeId("a"), NodeId("b")})),
            b'm{"voters":["a","b"],"learners":[]}',
        ),
    ],
)
def test_form_is_kept(payload: Payload, data: bytes) -> None:
    """The bytes are these for ever: a disk may be read by a later version."""
    assert encode_payload(payload) == data


@given(data=st.binary() | st.sampled_from([b"", b"nn", b"m", b"m[]", b'm{"voters":[1]}']))
def test_anything_else_is_a_value_error(data: bytes) -> None:
    """Bytes that no payload gives raise ValueError, and nothing else."""
    with suppress(ValueError):
        assert encode_payload(decode_payload(data)) == data or data.startswith(b"m")
