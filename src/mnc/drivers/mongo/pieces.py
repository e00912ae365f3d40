"""Decoding BSON in pieces, so that no thread waits long for the interpreter's lock. Pure.

Theory of operation. bson's C code keeps the interpreter's lock from a document's first byte to its
last: for half a second when 16 MB hold a million fields, and for longer on a busy machine. Raft's
ticks are late by that. So what is large is walked through here, element by element, and only runs
of elements and small containers are given to bson: between them other threads get their turn.
The walk takes about half a second for a million elements, and a usual reply, which is smaller than
a piece, needs none.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from struct import Struct
from typing import Any, Final

import bson
from bson.codec_options import CodecOptions
from bson.errors import InvalidBSON

__all__ = ["PIECE_BYTES", "decode_in_pieces", "first_element"]

PIECE_BYTES: Final = 1024 * 1024
"""What is decoded at once, beside one element more: 35 ms of the million fields above."""

_INT32 = Struct("<i")

_FIXED: Final = {
    0x01: 8,  # double
    0x06: 0,  # undefined
    0x07: 12,  # ObjectId
    0x08: 1,  # boolean
    0x09: 8,  # date
    0x0A: 0,  # null
    0x10: 4,  # int32
    0x11: 8,  # timestamp
    0x12: 8,  # int64
    0x13: 16,  # decimal128
    0x7F: 0,  # MaxKey
    0xFF: 0,  # MinKey
}
"""The bytes of a value, by its type (bsonspec.org, version 1.1)."""

_BEHIND_LENGTH: Final = {
    0x02: 4,  # string
    0x03: 0,  # document
    0x04: 0,  # array
    0x05: 5,  # binary
    0x0C: 16,  # DBPointer
    0x0D: 4,  # code
    0x0E: 4,  # symbol
    0x0F: 0,  # code with scope
}
"""What a value that begins with an int32 takes beside the number of bytes that it says."""

_NULL = b"\x0a"
_REGEX = 0x0B
_DOCUMENT = 0x03
_ARRAY = 0x04


@dataclass(frozen=True, slots=True)
class _Large:
    """An element whose value is a container that is larger than a piece."""

    type: int
    name: bytes
    """With the zero byte behind it."""
    value: bytes


def decode_in_pieces(raw: bytes, options: CodecOptions[dict[str, Any]]) -> dict[str, Any]:
    """Return what `bson.decode` does, apart from a large DBRef, which stays a document.

    Raises BSONError as `bson.decode` does.
    """
    if len(raw) <= PIECE_BYTES:
        return bson.decode(raw, options)
    fields: dict[str, Any] = {}
    for part in _parts(raw):
        if isinstance(part, _Large):
            (name,) = bson.decode(_document(_NULL + part.name), options)
            fields[name] = _decode_large(part, options)
        else:
            fields.update(bson.decode(_document(part), options))
    return fields


def first_element(raw: bytes, *, name: bytes | None = None) -> bytes:
    """Return a document of the first element of `raw` alone, byte for byte, maybe renamed.

    Raises BSONError when `raw` is no document, or is empty.
    """
    begin = _INT32.size
    name_end = _end_of_name(raw, begin + 1)
    end = _end_of_value(raw, raw[begin], name_end)
    if name is None:
        return _document(raw[begin:end])
    return _document(raw[begin : begin + 1] + name + b"\x00" + raw[name_end:end])


def _decode_large(
    large: _Large, options: CodecOptions[dict[str, Any]]
) -> dict[str, Any] | list[Any]:
    if large.type == _DOCUMENT:
        return decode_in_pieces(large.value, options)
    items: list[Any] = []
    for part in _parts(large.value):
        if isinstance(part, _Large):
            items.append(_decode_large(part, options))
        else:
            # Inside an array names mean nothing, so that a repeated one loses no value.
            array = b"\x04\x00" + _document(part)
            items += bson.decode(_document(array), options)[""]
    return items


def _document(elements: bytes) -> bytes:
    return b"%b%b\x00" % (_INT32.pack(len(elements) + 5), elements)


def _parts(raw: bytes) -> Iterator[bytes | _Large]:
    """Yield the elements of a document or an array in order: large ones apart, others in runs."""
    run_begin = position = _INT32.size
    end = len(raw) - 1
    if end < run_begin or _INT32.unpack_from(raw)[0] != len(raw) or raw[end] != 0:
        raise InvalidBSON("the length of a document is wrong")
    while position < end:
        begin = position
        name_end = _end_of_name(raw, begin + 1)
        position = _end_of_value(raw, raw[begin], name_end)
        if position > end:
            raise InvalidBSON("an element is longer than its document")
        if raw[begin] in {_DOCUMENT, _ARRAY} and position - name_end > PIECE_BYTES:
            if run_begin < begin:
                yield raw[run_begin:begin]
            yield _Large(raw[begin], raw[begin + 1 : name_end], raw[name_end:position])
            run_begin = position
        elif position - run_begin >= PIECE_BYTES:
            yield raw[run_begin:position]
            run_begin = position
    if run_begin < end:
        yield raw[run_begin:end]


def _end_of_name(raw: bytes, begin: int) -> int:
    """Return where a text that ends with a zero byte ends, behind that byte."""
    end = raw.find(0, begin)
    if end < 0:
        raise InvalidBSON("a name has no end")
    return end + 1


def _end_of_value(raw: bytes, type_: int, begin: int) -> int:
    fixed = _FIXED.get(type_)
    if fixed is not None:
        return begin + fixed
    behind = _BEHIND_LENGTH.get(type_)
    if behind is not None:
        if begin + _INT32.size > len(raw):
            raise InvalidBSON("a value has no end")
        length: int = _INT32.unpack_from(raw, begin)[0]
        if length < 0:
            raise InvalidBSON("the length of a value is negative")
        return begin + length + behind
    if type_ == _REGEX:
        return _end_of_name(raw, _end_of_name(raw, begin))
    raise InvalidBSON(f"there is no type {type_:#x}")
