"""A document id's part of a subject: readable, valid, and one for each of MongoDB's keys."""

from __future__ import annotations

import hashlib
import math
import re
from datetime import datetime
from pathlib import Path

import pytest
from bson import (
    Binary,
    Code,
    DBRef,
    Decimal128,
    Int64,
    MaxKey,
    MinKey,
    ObjectId,
    Regex,
    Timestamp,
)
from bson.datetime_ms import DatetimeMS
from hypothesis import given, settings
from tests.unit.encode.bson_values import mongo_key, numbers, values

from mnc.encode.document_id import decode_document_id, encode_document_id
from mnc.encode.part import PART_LIMIT, Digest

UUID_BYTES = bytes.fromhex("550e8400e29b41d4a716446655440000")

EXAMPLES = [
    (ObjectId("65f0c0ffee65f0c0ffee65f0"), "65f0c0ffee65f0c0ffee65f0"),
    (42, "42"),
    (Int64(-7), "-7"),
    (42.0, "42"),
    (-0.0, "0"),
    (2.0**62, "4611686018427387904"),
    (Decimal128("42.00"), "42"),
    (1.5, "f:1%2E5"),
    (Decimal128("1.50"), "f:1%2E5"),
    (1e300, "f:1e%2B300"),
    (Decimal128("1E+300"), "n:1E%2B300"),
    (Decimal128("0.1"), "n:0%2E1"),
    (math.nan, "f:NaN"),
    (Decimal128("NaN"), "f:NaN"),
    (Decimal128("sNaN"), "f:NaN"),
    (-math.inf, "f:-Infinity"),
    (Decimal128("Infinity"), "f:Infinity"),
    ("ann", "ann"),
    ("user:42", "user:42"),
    ("ann@example.com", "s:ann@example%2Ecom"),
    ("", "s:"),
    ("42", "s:42"),
    ("-1", "s:-1"),
    ("65f0c0ffee65f0c0ffee65f0", "s:65f0c0ffee65f0c0ffee65f0"),
    ("65F0C0FFEE65F0C0FFEE65F0", "s:65F0C0FFEE65F0C0FFEE65F0"),
    ("s:x", "s:s:x"),
    ("a:()", "s:a:%28%29"),
    ("*", "s:%2A"),
    (">", "s:%3E"),
    ("100%", "s:100%25"),
    ("a\tb\n\0", "s:a%09b%0A%00"),
    ("Zoë", "s:Zo%C3%AB"),
    (None, "k:null"),
    (True, "k:true"),
    (False, "k:false"),
    (MinKey(), "k:minKey"),
    (MaxKey(), "k:maxKey"),
    (b"\x00\xff", "b:00:00ff"),
    (b"", "b:00:"),
    (Binary(b"\x01", 128), "b:80:01"),
    (Binary(UUID_BYTES, 4), "u:550e8400-e29b-41d4-a716-446655440000"),
    (Binary(UUID_BYTES, 3), "b:03:550e8400e29b41d4a716446655440000"),
    (Binary(b"\x01", 4), "b:04:01"),
    (datetime(2024, 3, 1, 12, 30), "t:2024-03-01T12:30:00Z"),  # noqa: DTZ001 - as BSON decodes it
    (datetime(2024, 3, 1, 0, 0, 0, 120_000), "t:2024-03-01T00:00:00%2E12Z"),  # noqa: DTZ001 - same
    (datetime(1969, 12, 31, 23, 59, 59), "t:-1000"),  # noqa: DTZ001 - same
    (DatetimeMS(2**62), "t:4611686018427387904"),
    (Timestamp(1700000000, 3), "c:1700000000:3"),
    (Regex("^a.b", "im"), "r:im:%5Ea%2Eb"),
    (Regex("x"), "r::x"),
    (Code("f()"), "j:f%28%29"),
    (Code("f", {"n": 1}), "w:(f,d:(n=1))"),
    (DBRef("c", 1), "d:(%24ref=c,%24id=1)"),
    ({}, "d:()"),
    ({"tenant": "acme", "user": 5}, "d:(tenant=acme,user=5)"),
    ({"user": 5, "tenant": "acme"}, "d:(user=5,tenant=acme)"),
    ({"": {"a.b": [1, "x,y"]}}, "d:(=d:(a%2Eb=a:(1,s:x%2Cy)))"),
    ([], "a:()"),
    ([["a"], [], None], "a:(a:(a),a:(),k:null)"),
]


@pytest.mark.parametrize(("document_id", "part"), EXAMPLES)
def test_every_type_has_its_form(document_id: object, part: str) -> None:
    """Each BSON type is written in its documented form, and that form decodes to the same key."""
    assert encode_document_id(document_id) == part
    assert mongo_key(decode_document_id(part)) == mongo_key(document_id)


def test_equal_numbers_come_back_as_an_int_where_one_fits() -> None:
    """An integral number decodes to an int, whatever type it had in MongoDB."""
    for number in (42, Int64(42), 42.0, Decimal128("42.0")):
        assert type(decode_document_id(encode_document_id(number))) is int


def test_an_id_at_the_bound_is_kept_and_one_over_it_becomes_a_digest() -> None:
    """Nothing up to PART_LIMIT characters is lost; a longer part is a digest that says so."""
    longest = "x" * PART_LIMIT
    assert decode_document_id(encode_document_id(longest)) == longest
    part = encode_document_id(longest + "x")
    sha256 = hashlib.sha256((longest + "x").encode()).hexdigest()
    assert part == f"h:{sha256}"
    assert decode_document_id(part) == Digest(sha256)


def test_the_deepest_id_that_mongodb_stores_has_a_part() -> None:
    """Nesting up to MongoDB's limit of 180 levels is no error."""
    deep: dict[str, object] = {}
    for _ in range(180):
        deep = {"v": deep}
    assert isinstance(decode_document_id(encode_document_id(deep)), Digest)


def test_a_string_that_looks_like_a_digest_is_not_one() -> None:
    """A string can't pass for the digest of something else."""
    forged = encode_document_id("x" * 201)
    assert decode_document_id(encode_document_id(forged)) == forged


@pytest.mark.parametrize(
    "part",
    [
        "",
        "q:1",
        "h:12",
        "k:maybe",
        "n:one",
        "f:1.5",
        "t:yesterdayZ",
        "t:1",
        "s:plain",
        "s:%2e",
        "s:%FF",
        "007",
        "a.b",
        "b:00:zz",
        "b:100:00",
        "c:1",
        "c:1:2:3",
        "u:1",
        "w:(f)",
        "w:(f,1)",
        "d:(a)",
        "d:",
        "a:(1,",
        "a:(1,)",
        "a:((1)",
    ],
)
def test_what_is_no_document_id_is_refused(part: str) -> None:
    """Decoding accepts nothing that encoding doesn't produce, and fails with ValueError only."""
    with pytest.raises(ValueError):  # noqa: PT011 - which one of Python's own doesn't matter
        decode_document_id(part)


def test_a_value_that_bson_lacks_is_refused() -> None:
    """A Python type that no `_id` decodes to is a TypeError, not a guess."""
    with pytest.raises(TypeError, match="complex"):
        encode_document_id(1j)


@settings(max_examples=400, deadline=None)
@given(values)
def test_any_id_is_reversible_and_valid(document_id: object) -> None:
    """Any BSON value gives a part that NATS takes literally and that decodes to the same key."""
    part = encode_document_id(document_id)
    assert re.fullmatch(r"[A-Za-z0-9_:@%(),=-]{1,200}", part)
    back = decode_document_id(part)
    assert isinstance(back, Digest) or mongo_key(back) == mongo_key(document_id)


@settings(max_examples=200, deadline=None)
@given(values)
def test_no_string_shares_a_part_with_another_type(document_id: object) -> None:
    """The string that spells out another id's part has a part of its own."""
    part = encode_document_id(document_id)
    assert encode_document_id(part) != part or document_id == part


@settings(max_examples=300, deadline=None)
@given(numbers, numbers)
def test_numbers_share_a_part_exactly_when_they_are_one_key(one: object, other: object) -> None:
    """Numbers of any two types have the same part if and only if MongoDB compares them as equal."""
    same_part = encode_document_id(one) == encode_document_id(other)
    assert same_part == (mongo_key(one) == mongo_key(other))


def test_the_forms_in_the_documentation_are_true() -> None:
    """Each form that docs/messages.md shows is one that encoding produces."""
    guide = Path(__file__).parents[3] / "docs" / "messages.md"
    _, _, section = guide.read_text(encoding="utf-8").partition("### Document ids")
    rows = [line.split(" | ") for line in section.partition("###")[0].splitlines()]
    forms = [form for row in rows if len(row) == 3 for form in re.findall("`([^`]+)`", row[2])]
    assert len(forms) > 20
    for form in set(forms) - {"h:"}:
        assert encode_document_id(decode_document_id(form)) == form
