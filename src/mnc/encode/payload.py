"""Payloads: a decoded document as relaxed Extended JSON v2, as MongoDB's Go driver writes it.

orjson does the work. It calls back for every BSON type that JSON lacks, which is where the time
goes. Two of its habits would do harm: it writes a Code as a plain string and a datetime without
`$date`, hence the two passthrough options; and it writes NaN and the infinities as `null`, so a
payload with a `null` in it is looked through for them, and written again if there are any.

The types that BSON has deprecated are gone before this: `bson` decodes a symbol to a string,
undefined to None and a DBPointer to a DBRef.
"""

from __future__ import annotations

import math
from base64 import b64encode
from collections.abc import Iterable, Mapping
from datetime import datetime
from functools import singledispatch

import orjson
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

from mnc.encode.scalar import iso_date, millis, regex_options

__all__ = ["to_extended_json"]

_OPTIONS = orjson.OPT_PASSTHROUGH_SUBCLASS | orjson.OPT_PASSTHROUGH_DATETIME

_MAY_BE_NON_FINITE = frozenset({float, dict, list, Code, DBRef})
"""The types that are a double or may hold one; exact types, as `bson` decodes to them."""


def to_extended_json(document: Mapping[str, object]) -> bytes:
    """Write `document` as relaxed Extended JSON, in UTF-8, without spaces, fields in their order.

    `document` is one that `bson` decoded with `DatetimeConversion.DATETIME_AUTO` and no UUID
    representation. Raises TypeError for a value that no BSON document holds, text that isn't valid
    Unicode, or more than 254 levels of nesting (MongoDB stores up to 180).
    """
    written = orjson.dumps(document, default=_extended, option=_OPTIONS)
    if b"null" in written and _has_non_finite(document.values()):
        written = orjson.dumps(_spelt_out(document), default=_extended, option=_OPTIONS)
    # A copy, because orjson's own result keeps the buffer that it grew, 4 KB for half a kilobyte,
    # and events are held by the ten thousand.
    return bytes(memoryview(written))


def _extended(value: object) -> object:
    """Say what orjson writes for a value that it doesn't know; the frequent types come first."""
    if type(value) is ObjectId:
        return {"$oid": value.binary.hex()}
    if type(value) is datetime:
        return {"$date": iso_date(value) or {"$numberLong": str(millis(value))}}
    if type(value) is Int64:
        return int(value)
    if type(value) is Timestamp:
        return {"$timestamp": {"t": value.time, "i": value.inc}}
    return _infrequent(value)


@singledispatch
def _infrequent(value: object) -> object:
    raise TypeError(f"no Extended JSON for the type {type(value).__name__}")


@_infrequent.register
def _(value: Decimal128) -> object:
    return {"$numberDecimal": str(value)}


@_infrequent.register
def _(value: bytes) -> object:
    subtype = value.subtype if isinstance(value, Binary) else 0
    return {"$binary": {"base64": b64encode(value).decode(), "subType": f"{subtype:02x}"}}


@_infrequent.register(Regex)
def _(value: Regex[str]) -> object:
    return {"$regularExpression": {"pattern": value.pattern, "options": regex_options(value.flags)}}


@_infrequent.register
def _(value: DatetimeMS) -> object:
    return {"$date": iso_date(value) or {"$numberLong": str(millis(value))}}


@_infrequent.register
def _(value: Code) -> object:
    code = {"$code": str(value)}
    return code if value.scope is None else {**code, "$scope": value.scope}


@_infrequent.register
def _(value: DBRef) -> object:
    return dict(value.as_doc())


@_infrequent.register
def _(_: MinKey) -> object:
    return {"$minKey": 1}


@_infrequent.register
def _(_: MaxKey) -> object:
    return {"$maxKey": 1}


def _has_non_finite(values: Iterable[object]) -> bool:
    """Find a double that JSON lacks, at any depth."""
    for value in values:
        if type(value) not in _MAY_BE_NON_FINITE:
            continue
        if isinstance(value, float):
            found = not math.isfinite(value)
        elif isinstance(value, dict):
            found = _has_non_finite(value.values())
        elif isinstance(value, list):
            found = _has_non_finite(value)
        else:
            found = _has_non_finite([_extended(value)])
        if found:
            return True
    return False


def _spelt_out(value: object) -> object:
    """Copy `value` with the doubles that JSON lacks as `$numberDouble`."""
    if isinstance(value, float) and not math.isfinite(value):
        name = "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
        return {"$numberDouble": name}
    if isinstance(value, (Code, DBRef)):
        return _spelt_out(_extended(value))
    if isinstance(value, dict):
        return {name: _spelt_out(part) for name, part in value.items()}
    if isinstance(value, list):
        return [_spelt_out(part) for part in value]
    return value
