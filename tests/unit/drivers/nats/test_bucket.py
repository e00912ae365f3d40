"""The bucket of large payloads: its name, and which chunks are in doubt."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mnc.drivers.nats.bucket import Bucket

_BUCKET = Bucket("cs_payloads")
_DIGEST = "sha256:" + "0" * 64


@given(st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=255))
def test_any_stream_has_a_bucket_with_a_legal_name(stream: str) -> None:
    """Letters, digits, `_` and `-`, and with its prefix no longer than a stream's name may be."""
    bucket = Bucket.of_stream(stream)
    assert re.fullmatch(r"[A-Za-z0-9_-]+_payloads", bucket.name)
    assert len(bucket.stream) <= 255


@given(st.sets(st.text(st.sampled_from("a-_é.x"), min_size=1, max_size=8), min_size=2))
def test_no_two_streams_share_a_bucket(streams: set[str]) -> None:
    """A sweep of one must not take what is another's."""
    assert len({Bucket.of_stream(stream).name for stream in streams}) == len(streams)


def test_a_plain_name_stays_readable() -> None:
    """People find the bucket by the stream's name."""
    assert Bucket.of_stream("cs").name == "cs_payloads"
    assert Bucket.of_stream("événement").name.startswith("-v-nement-")


def test_a_bucket_is_as_safe_as_its_stream() -> None:
    """Replicas and age are the stream's; what is full refuses instead of dropping the oldest."""
    config = _BUCKET.config({"num_replicas": 3, "max_age": 7})
    assert (config["num_replicas"], config["max_age"]) == (3, 7)
    assert (config["storage"], config["discard"]) == ("file", "new")


@pytest.mark.parametrize("name", ["82AB", _DIGEST])
def test_chunks_tell_their_object(name: str) -> None:
    """A list of subjects says which chunks are whose."""
    subject = _BUCKET.chunks_subject(name, "Nuid1")
    assert _BUCKET.owner_of_chunks(subject) == _BUCKET.meta_subject(name)


def test_chunks_are_in_doubt_without_an_object_or_with_rivals() -> None:
    """What another program has stored in the bucket is its own matter."""
    whole, torn, again, other = (
        _BUCKET.chunks_subject("AA", "n1"),
        _BUCKET.chunks_subject("BB", "n2"),
        [_BUCKET.chunks_subject("CC", nuid) for nuid in ("n3", "n4")],
        "$O.cs_payloads.C.a_nuid_of_another",
    )
    metas = [_BUCKET.meta_subject("AA"), _BUCKET.meta_subject("CC")]
    assert _BUCKET.doubtful_chunks([whole, torn, *again, other], metas) == [torn, *again]
