"""Strategies for what `bson` decodes, and MongoDB's idea of equality."""

from __future__ import annotations

import re
from decimal import MAX_EMAX, MIN_EMIN, Context, Decimal
from typing import Any

import bson
from bson import (
    Binary,
    Code,
    DBRef,
    Decimal128,
    MaxKey,
    MinKey,
    ObjectId,
    Regex,
    Timestamp,
)
from bson.codec_options import CodecOptions, DatetimeConversion
from bson.datetime_ms import DatetimeMS
from bson.decimal128 import create_decimal128_context
from hypothesis import strategies as st

DECODED_LIKE_CAPTURE: CodecOptions[dict[str, Any]] = CodecOptions(
    datetime_conversion=DatetimeConversion.DATETIME_AUTO
)


def decoded(value: object) -> Any:
    """Return `value` after a way through BSON, as the type that capture sees."""
    return bson.decode(bson.encode({"": value}), codec_options=DECODED_LIKE_CAPTURE)[""]


texts = st.text(max_size=30)
names = st.text(
    st.characters(exclude_characters="\0", exclude_categories=["Cs"]), min_size=1, max_size=20
)
field_names = names.filter(lambda name: not name.startswith("$"))
int32s = st.integers(-(2**31), 2**31 - 1)
int64s = st.integers(-(2**63), 2**63 - 1)
decimals = st.one_of(
    st.decimals(places=3, min_value=-(10**20), max_value=10**20),
    st.sampled_from(["0E+3", "1.50", "0.5", "1E+6144", "-1E-6176", "1E+20", "9" * 34]).map(Decimal),
).map(lambda value: Decimal128(create_decimal128_context().create_decimal(value)))
halves = st.integers(-6, 6).map(lambda doubled: doubled / 2)  # few, so that two are often equal
numbers = st.one_of(
    int32s,
    int64s,
    st.floats(),
    int32s.map(float),
    decimals,
    halves,
    halves.map(int),
    halves.map(lambda half: Decimal128(str(half))),
)
dates = st.one_of(
    st.datetimes().map(lambda date: date.replace(microsecond=date.microsecond // 1000 * 1000)),
    int64s.map(DatetimeMS),
    st.integers(-1_000_000, 1_000_000).map(DatetimeMS),
)
binaries = st.builds(Binary, st.binary(max_size=20), st.integers(0, 255))
uuids = st.uuids().map(lambda uuid: Binary(uuid.bytes, 4))
regexes = st.builds(
    Regex,
    st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=10),
    st.sampled_from([0, re.IGNORECASE, re.MULTILINE | re.DOTALL, re.VERBOSE | re.UNICODE]),
)
scalars = st.one_of(
    st.none(),
    st.booleans(),
    numbers,
    texts,
    st.binary(min_size=12, max_size=12).map(ObjectId),
    binaries,
    uuids,
    dates,
    st.builds(Timestamp, st.integers(0, 2**32 - 1), st.integers(0, 2**32 - 1)),
    regexes,
    st.sampled_from([MinKey(), MaxKey()]),
    texts.map(Code),
)
values = st.recursive(
    scalars,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(field_names, inner, max_size=3),
        st.builds(Code, texts, st.dictionaries(field_names, inner, max_size=2)),
        st.builds(DBRef, names, inner),
    ),
    max_leaves=6,
).map(decoded)
documents = st.dictionaries(field_names, values, max_size=6)


def mongo_key(value: object) -> bytes:
    """Return what is equal for two ids exactly when MongoDB's index on `_id` holds them for one."""
    return bson.encode({"": _by_value(value)})


def _by_value(value: object) -> object:
    """Replace numbers by something that only their value decides, at any depth."""
    if isinstance(value, Decimal128):
        return _exact(value.to_decimal())
    if isinstance(value, int | float) and not isinstance(value, bool):
        return _exact(Decimal(value))
    if isinstance(value, DBRef):
        value = value.as_doc()
    if isinstance(value, dict):
        return {name: _by_value(part) for name, part in value.items()}
    if isinstance(value, list):
        return [_by_value(part) for part in value]
    if isinstance(value, Code) and value.scope is not None:
        return Code(str(value), {"": _by_value(value.scope)})
    return value


def _exact(number: Decimal) -> object:
    enough = Context(prec=800, Emin=MIN_EMIN, Emax=MAX_EMAX)
    normal = "NaN" if number.is_nan() else str((number or Decimal(0)).normalize(enough))
    return {"$number": normal}
