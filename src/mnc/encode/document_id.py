"""Document ids in subjects: one part for each BSON `_id`, and back.

Theory of operation. What is plain stays plain: an ObjectId is its 24 hexadecimal digits, an
integer its decimal digits, a safe string itself. Every other form begins with a tag, one lower-case
letter and a colon; a string that looks like one of these forms is tagged too. Documents and arrays
nest: their parts stand between brackets, which text never has, so order and types are kept.

Two ids share a part exactly when they are one key for MongoDB, which compares numbers by value:
42, 42.0 and NumberDecimal("42.0") are one key, and a replacement may turn one of them into another.
Such a key comes back as the first that fits of int, double and Decimal128.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from decimal import Context
from functools import singledispatch
from typing import Final
from uuid import UUID

from bson import Binary, Code, DBRef, Decimal128, MaxKey, MinKey, ObjectId, Regex, Timestamp
from bson.binary import UUID_SUBTYPE
from bson.datetime_ms import DatetimeMS

from mnc.encode.part import SAFE, bounded, digest_of, escape, unescape
from mnc.encode.scalar import from_millis, iso_date, millis, regex_options

__all__ = ["decode_document_id", "encode_document_id"]

_OBJECT_ID = re.compile(r"[0-9a-f]{24}")
_INTEGER = re.compile(r"-?[0-9]+")
_TAGGED = re.compile(r"[a-z]:")
_PLAIN = re.compile(rf"(?!(?:[0-9A-Fa-f]{{24}}|-?[0-9]+)\Z|[a-z]:)[{SAFE}]+")
"""A string that is safe and is no other form; upper-case ObjectIds are one to a careless reader."""

_INT64: Final = range(-(2**63), 2**63)
_DECIMAL128 = Context(prec=34)
_UUID_BYTES: Final = 16


def encode_document_id(document_id: object) -> str:
    """Return the part of a subject for a decoded `_id`; a missing one is None.

    Raises TypeError for a type that BSON decodes nothing to.
    """
    if type(document_id) is ObjectId:  # most are, and looking a type up takes as long as all this
        return document_id.binary.hex()
    return bounded(_encode(document_id))


def decode_document_id(part: str) -> object:
    """Return the `_id` that a part stands for, or its Digest if it was too long for a subject.

    Numbers come back as the module says, and a DBRef as the document that it is. Raises ValueError
    for what `encode_document_id` doesn't return.
    """
    digest = digest_of(part)
    if digest is not None:
        return digest
    try:
        document_id = _decode(part)
    except (ArithmeticError, LookupError, TypeError) as error:
        raise ValueError("not a document id's part") from error
    if _encode(document_id) != part:
        raise ValueError("not a document id's part")
    return document_id


@singledispatch
def _encode(value: object) -> str:
    raise TypeError(f"no _id is of type {type(value).__name__}")


@_encode.register
def _(value: ObjectId) -> str:
    return str(value)


@_encode.register
def _(value: str) -> str:
    return value if _PLAIN.fullmatch(value) else f"s:{escape(value)}"


@_encode.register
def _(value: int) -> str:
    return str(value)


@_encode.register
def _(value: float) -> str:
    if value.is_integer() and int(value) in _INT64:
        return str(int(value))
    if math.isfinite(value):
        return f"f:{escape(repr(value))}"
    return "f:NaN" if math.isnan(value) else "f:Infinity" if value > 0 else "f:-Infinity"


@_encode.register
def _(value: Decimal128) -> str:
    number = value.to_decimal()
    if number.is_nan():
        return _encode(math.nan)
    double = float(number)
    if double == number:
        return _encode(double)
    if _INT64.start <= number < _INT64.stop and number == int(number):
        return str(int(number))
    return f"n:{escape(str(number.normalize(_DECIMAL128)))}"


@_encode.register
def _(value: bool) -> str:
    return "k:true" if value else "k:false"


@_encode.register
def _(_: None) -> str:
    return "k:null"


@_encode.register
def _(_: MinKey) -> str:
    return "k:minKey"


@_encode.register
def _(_: MaxKey) -> str:
    return "k:maxKey"


@_encode.register
def _(value: bytes) -> str:
    return f"b:00:{value.hex()}"


@_encode.register
def _(value: Binary) -> str:
    if value.subtype == UUID_SUBTYPE and len(value) == _UUID_BYTES:
        return f"u:{UUID(bytes=bytes(value))}"
    return f"b:{value.subtype:02x}:{value.hex()}"


@_encode.register(datetime)
@_encode.register(DatetimeMS)
def _(value: datetime | DatetimeMS) -> str:
    return f"t:{escape(iso_date(value) or str(millis(value)))}"


@_encode.register
def _(value: Timestamp) -> str:
    return f"c:{value.time}:{value.inc}"


@_encode.register(Regex)
def _(value: Regex[str]) -> str:
    return f"r:{regex_options(value.flags)}:{escape(value.pattern)}"


@_encode.register
def _(value: Code) -> str:
    if value.scope is None:
        return f"j:{escape(value)}"
    return f"w:({_encode(str(value))},{_encode(value.scope)})"


@_encode.register
def _(value: DBRef) -> str:
    return _encode(value.as_doc())


@_encode.register
def _(value: Mapping) -> str:  # type: ignore[type-arg] # singledispatch takes plain classes only
    return f"d:({','.join(f'{escape(name)}={_encode(part)}' for name, part in value.items())})"


@_encode.register
def _(value: list) -> str:  # type: ignore[type-arg] # as above
    return f"a:({','.join(map(_encode, value))})"


def _decode(part: str) -> object:
    if _OBJECT_ID.fullmatch(part):
        return ObjectId(part)
    if _INTEGER.fullmatch(part):
        return int(part)
    if _TAGGED.match(part):
        return _DECODERS[part[0]](part[2:])
    return part


def _decode_binary(body: str) -> object:
    subtype, _, data = body.partition(":")
    value = bytes.fromhex(data)
    return Binary(value, int(subtype, 16)) if int(subtype, 16) else value


def _decode_date(body: str) -> object:
    text = unescape(body)
    return datetime.fromisoformat(text[:-1]) if text.endswith("Z") else from_millis(int(text))


def _decode_document(body: str) -> Mapping[str, object]:
    fields = (item.partition("=") for item in _items(body))
    return {unescape(name): _decode(part) for name, _, part in fields}


def _decode_regex(body: str) -> object:
    options, _, pattern = body.partition(":")
    return Regex(unescape(pattern), options)


def _decode_scoped_code(body: str) -> object:
    code, scope = _items(body)
    return Code(str(_decode(code)), _decode_document(scope[2:]))


def _items(bracketed: str) -> Iterator[str]:
    """Yield what stands between the commas in a pair of brackets, inner brackets as they are."""
    item = ""
    depth = 0
    for character in bracketed[1:-1]:
        if character == "," and not depth:
            yield item
            item = ""
            continue
        depth += (character == "(") - (character == ")")
        item += character
    if item:
        yield item


_DECODERS: Final[Mapping[str, Callable[[str], object]]] = {
    "a": lambda body: [_decode(item) for item in _items(body)],
    "b": _decode_binary,
    "c": lambda body: Timestamp(*map(int, body.split(":"))),
    "d": _decode_document,
    "f": lambda body: float(unescape(body)),
    "j": lambda body: Code(unescape(body)),
    "k": {
        "null": None,
        "false": False,
        "true": True,
        "minKey": MinKey(),
        "maxKey": MaxKey(),
    }.__getitem__,
    "n": lambda body: Decimal128(unescape(body)),
    "r": _decode_regex,
    "s": unescape,
    "t": _decode_date,
    "u": lambda body: Binary(UUID(body).bytes, UUID_SUBTYPE),
    "w": _decode_scoped_code,
}
"""What follows a tag, back to a value."""
