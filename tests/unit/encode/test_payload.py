"""Payloads are relaxed Extended JSON v2, as the Go driver writes it, and lose nothing."""

from __future__ import annotations

import json
import math
import re
from datetime import datetime
from typing import Any

import bson
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
    json_util,
)
from bson.codec_options import DatetimeConversion
from bson.datetime_ms import DatetimeMS
from hypothesis import given, settings
from tests.unit.encode.bson_values import documents

from mnc.encode.payload import to_extended_json

UUID_BYTES = bytes.fromhex("550e8400e29b41d4a716446655440000")

RELAXED = json_util.JSONOptions(
    json_mode=json_util.JSONMode.RELAXED,
    datetime_conversion=DatetimeConversion.DATETIME_AUTO,
    tz_aware=False,
)


def loads(payload: bytes) -> Any:
    """Parse as PyMongo does."""
    return json_util.loads(payload, json_options=RELAXED)


def date(year: int, month: int, day: int, *time: int) -> datetime:
    """Return a naive datetime, as BSON's dates are decoded."""
    return datetime(year, month, day, *time)  # type: ignore[arg-type] # noqa: DTZ001 - no tzinfo


EXAMPLES = [
    ("text", '"text"'),
    ('"\\\n\x00é😀', '"\\"\\\\\\n\\u0000é😀"'),
    (None, "null"),
    (True, "true"),
    (42, "42"),
    (Int64(2**63 - 1), "9223372036854775807"),
    (1.0, "1.0"),
    (-0.0, "-0.0"),
    (0.1, "0.1"),
    (math.nan, '{"$numberDouble":"NaN"}'),
    (math.inf, '{"$numberDouble":"Infinity"}'),
    (-math.inf, '{"$numberDouble":"-Infinity"}'),
    (Decimal128("1.50"), '{"$numberDecimal":"1.50"}'),
    (Decimal128("NaN"), '{"$numberDecimal":"NaN"}'),
    (ObjectId("65f0c0ffee65f0c0ffee65f0"), '{"$oid":"65f0c0ffee65f0c0ffee65f0"}'),
    (date(2024, 3, 1, 12, 30), '{"$date":"2024-03-01T12:30:00Z"}'),
    (date(2024, 3, 1, 0, 0, 0, 100_000), '{"$date":"2024-03-01T00:00:00.1Z"}'),
    (date(2024, 3, 1, 0, 0, 0, 123_000), '{"$date":"2024-03-01T00:00:00.123Z"}'),
    (date(1970, 1, 1), '{"$date":"1970-01-01T00:00:00Z"}'),
    (date(9999, 12, 31, 23, 59, 59, 999_000), '{"$date":"9999-12-31T23:59:59.999Z"}'),
    (date(1969, 12, 31, 23, 59, 59, 999_000), '{"$date":{"$numberLong":"-1"}}'),
    (DatetimeMS(253_402_300_800_000), '{"$date":{"$numberLong":"253402300800000"}}'),
    (DatetimeMS(-(2**63)), '{"$date":{"$numberLong":"-9223372036854775808"}}'),
    (DatetimeMS(50), '{"$date":"1970-01-01T00:00:00.05Z"}'),
    (Timestamp(1700000000, 3), '{"$timestamp":{"t":1700000000,"i":3}}'),
    (b"\x01", '{"$binary":{"base64":"AQ==","subType":"00"}}'),
    (Binary(b"\x01", 128), '{"$binary":{"base64":"AQ==","subType":"80"}}'),
    (
        Binary(UUID_BYTES, 4),
        '{"$binary":{"base64":"VQ6EAOKbQdSnFkRmVUQAAA==","subType":"04"}}',
    ),
    (Regex("^a", "mi"), '{"$regularExpression":{"pattern":"^a","options":"im"}}'),
    (Code("f()"), '{"$code":"f()"}'),
    (Code("f()", {}), '{"$code":"f()","$scope":{}}'),
    (Code("f()", {"n": math.nan}), '{"$code":"f()","$scope":{"n":{"$numberDouble":"NaN"}}}'),
    (DBRef("c", ObjectId(b"x" * 12)), '{"$ref":"c","$id":{"$oid":"787878787878787878787878"}}'),
    (
        DBRef("c", math.inf, "d", a=1),
        '{"$ref":"c","$id":{"$numberDouble":"Infinity"},"$db":"d","a":1}',
    ),
    (MinKey(), '{"$minKey":1}'),
    (MaxKey(), '{"$maxKey":1}'),
    ([1, [None, math.nan], {}], '[1,[null,{"$numberDouble":"NaN"}],{}]'),
]


@pytest.mark.parametrize(("value", "written"), EXAMPLES)
def test_every_type_has_its_form(value: object, written: str) -> None:
    """Each BSON type is written as relaxed Extended JSON v2 has it."""
    assert to_extended_json({"v": value}).decode() == f'{{"v":{written}}}'


def test_fields_keep_their_order_and_names() -> None:
    """Fields stand in the document's order, whatever their names."""
    document = {"b": 1, "a.b": 2, "": 3, "é": 4}
    assert list(json.loads(to_extended_json(document))) == list(document)


def test_nulls_beside_a_nan_stay_null() -> None:
    """A null and a string with that word in it are not touched by the spelling out of a NaN."""
    document = {"a": None, "b": "null", "c": [math.nan, None]}
    assert json.loads(to_extended_json(document)) == {
        "a": None,
        "b": "null",
        "c": [{"$numberDouble": "NaN"}, None],
    }


def test_the_deepest_document_that_mongodb_stores_is_written() -> None:
    """Nesting up to MongoDB's limit of 180 levels is no error, within an event's own levels."""
    deep: dict[str, object] = {"v": math.nan}
    for _ in range(182):
        deep = {"v": deep}
    assert b"NaN" in to_extended_json(deep)


@pytest.mark.parametrize("value", [1j, {1, 2}, "\ud800"])
def test_what_bson_lacks_is_refused(value: object) -> None:
    """A value that no BSON document holds is a TypeError, not a guess."""
    with pytest.raises(TypeError):
        to_extended_json({"v": value})


def as_bson(document: dict[str, object]) -> bytes:
    """Return `document` as BSON, where NaNs are one and an Int64 is a number like any other."""
    return bson.encode({name: _plain(value) for name, value in document.items()})


def _plain(value: object) -> object:
    if isinstance(value, DBRef):
        value = value.as_doc()
    if isinstance(value, Int64):
        return int(value)
    if isinstance(value, float) and math.isnan(value):
        return math.nan
    if isinstance(value, dict):
        return {name: _plain(part) for name, part in value.items()}
    if isinstance(value, list):
        return [_plain(part) for part in value]
    if isinstance(value, Code) and value.scope is not None:
        return Code(str(value), {"": _plain(value.scope)})
    return value


@settings(max_examples=300, deadline=None)
@given(documents)
def test_a_payload_parses_back_to_the_document(document: dict[str, object]) -> None:
    """PyMongo's own parser reads the same values from a payload, in the same order."""
    assert as_bson(loads(to_extended_json(document))) == as_bson(document)


@settings(max_examples=300, deadline=None)
@given(documents)
def test_a_payload_says_what_json_util_says(document: dict[str, object]) -> None:
    """PyMongo's own writer, in relaxed mode, says the same, apart from zeros in dates."""
    theirs = json_util.dumps(document, json_options=RELAXED)
    shortened = re.sub(r'(\.\d+?)0+Z"', r'\1Z"', theirs)
    assert json.loads(to_extended_json(document)) == json.loads(shortened)
