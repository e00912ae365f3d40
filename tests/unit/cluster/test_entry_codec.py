"""Payloads survive their encoding, and nothing else is taken for one."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mnc.cluster.entry_codec import (
    decode_configuration,
    decode_payload,
    encode_configuration,
    encode_payload,
)
from mnc.raft import Configuration, NodeId, NoOp, Payload

_NODES = st.frozensets(st.text(st.characters(codec="utf-8")).map(NodeId), max_size=4)
_CONFIGURATIONS = st.builds(Configuration, voters=_NODES, learners=_NODES)

CONFIGURATION = Configuration(
    voters=frozenset(map(NodeId, ("b", "a"))), learners=frozenset({NodeId("c")})
)


@given(st.one_of(st.builds(NoOp), st.binary(), _CONFIGURATIONS))
def test_payloads_read_as_they_were_written(payload: Payload) -> None:
    """Every payload comes back as it was, an empty command too."""
    assert decode_payload(encode_payload(payload)) == payload


@pytest.mark.parametrize(
    ("payload", "data"),
    [
        (NoOp(), b"\0"),
        (b"", b"\1"),
        (b"\0command", b"\1\0command"),
        (CONFIGURATION, b'\2{"voters":["a","b"],"learners":["c"]}'),
    ],
)
def test_the_encoding_stays(payload: Payload, data: bytes) -> None:
    """Another release reads what this one has written."""
    assert encode_payload(payload) == data


@pytest.mark.parametrize(
    "data",
    [b"", b"\0\0", b"\3", b"\2", b"\2[]", b'\2{"voters":["a"]}', b'\2{"voters":[1],"learners":[]}'],
)
def test_what_is_no_payload_is_refused(data: bytes) -> None:
    """Bytes that a later release has written, or nobody, are not taken for a payload."""
    with pytest.raises(ValueError, match=r"^found|: line 1 column"):
        decode_payload(data)


def test_a_command_is_no_configuration() -> None:
    """Whoever expects a configuration gets one or an error."""
    assert decode_configuration(encode_configuration(CONFIGURATION)) == CONFIGURATION
    with pytest.raises(ValueError, match="kind 01"):
        decode_configuration(encode_payload(b"{}"))
