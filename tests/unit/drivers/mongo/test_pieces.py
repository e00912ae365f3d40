"""Large BSON is decoded in pieces, and comes to the same."""

from __future__ import annotations

import math
import random
from typing import Any

import bson
import pytest
from bson import DBRef
from bson.codec_options import CodecOptions, DatetimeConversion
from bson.errors import BSONError
from hypothesis import given
from tests.unit.encode.bson_values import documents

from mnc.drivers.mongo import pieces
from mnc.drivers.mongo.pieces import PIECE_BYTES, decode_in_pieces

_OPTIONS: CodecOptions[dict[str, Any]] = CodecOptions(
    datetime_conversion=DatetimeConversion.DATETIME_AUTO
)
_LENIENT = _OPTIONS.with_options(unicode_decode_error_handler="replace")

_MANY = 200_000

_LARGE: dict[str, dict[str, object]] = {
    "fields": {f"field{number}": number for number in range(_MANY)},
    "numbers": {"list": list(range(_MANY))},
    "documents": {"list": [{"a": number, "b": [None]} for number in range(_MANY)]},
    "deep": {"a": {"b": {"c": [{"d": "x" * 100} for _ in range(_MANY // 10)], "e": 1}, "f": 2}},
    "mixed": {"list": [{}, [], {"a": list(range(_MANY))}, "end"], "h": {"i": 1}, "j": [0.5]},
}


@pytest.fixture
def decoded_sizes(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Note how much `bson` is given at once."""
    sizes: list[int] = []
    decode = bson.decode

    def noting(data: bytes, options: CodecOptions[dict[str, Any]]) -> dict[str, Any]:
        sizes.append(len(data))
        return decode(data, options)

    monkeypatch.setattr(bson, "decode", noting)
    return sizes


@pytest.mark.parametrize("name", _LARGE)
def test_a_large_document_is_decoded_in_pieces(name: str, decoded_sizes: list[int]) -> None:
    """Whatever its megabytes are, bson gets at most a piece and an element, all in their order."""
    raw = bson.encode(_LARGE[name])
    assert len(raw) > 2 * PIECE_BYTES
    assert bson.encode(decode_in_pieces(raw, _OPTIONS)) == raw
    assert max(decoded_sizes) < PIECE_BYTES + 1000


def test_a_usual_reply_is_decoded_at_once(decoded_sizes: list[int]) -> None:
    """What is no larger than a piece costs no walk."""
    raw = bson.encode({"text": "x" * (PIECE_BYTES - 16)})
    assert len(raw) == PIECE_BYTES
    decode_in_pieces(raw, _OPTIONS)
    assert decoded_sizes == [PIECE_BYTES]


@given(documents)
def test_pieces_come_to_the_whole(document: dict[str, object]) -> None:
    """With every type of BSON, and every container and run a piece, the outcome is bson's."""
    raw = bson.encode(document)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pieces, "PIECE_BYTES", 1)
        in_pieces = decode_in_pieces(raw, _OPTIONS)
    assert repr(_without_refs(in_pieces)) == repr(_without_refs(bson.decode(raw, _OPTIONS)))


def _without_refs(value: object) -> object:
    """Take DBRefs apart: a large one is a document."""
    if isinstance(value, DBRef):
        return _without_refs(dict(value.as_doc()))
    if isinstance(value, dict):
        return {name: _without_refs(part) for name, part in value.items()}
    if isinstance(value, list):
        return [_without_refs(part) for part in value]
    return value


def test_an_arrays_repeated_names_lose_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """The names inside an array mean nothing, as some drivers write them wrong."""
    raw = bson.encode({"list": [1, 2, 3]}).replace(b"\x101\x00", b"\x100\x00")
    monkeypatch.setattr(pieces, "PIECE_BYTES", 15)
    assert decode_in_pieces(raw, _OPTIONS) == {"list": [1, 2, 3]}


def test_text_that_is_not_unicode_is_as_lenient_as_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    """Names and strings of other encodings are refused or replaced, as the options say."""
    raw = bson.encode({"name": {"text": "text"}}).replace(b"name", b"n\xffme")
    monkeypatch.setattr(pieces, "PIECE_BYTES", 1)
    with pytest.raises(BSONError):
        decode_in_pieces(raw, _OPTIONS)
    assert decode_in_pieces(raw, _LENIENT) == {"n\ufffdme": {"text": "text"}}


def test_damage_is_an_error_of_bson(monkeypatch: pytest.MonkeyPatch) -> None:
    """Bytes that are no document raise BSONError and nothing else, wherever they are wrong."""
    document = {"a": {"b": [1, "x", b"y", None, {"c": math.pi}]}, "d": bson.Regex("e", "i")}
    raw = bson.encode(document)
    rng = random.Random(5)
    monkeypatch.setattr(pieces, "PIECE_BYTES", 1)
    refused = 0
    for _ in range(3000):
        damaged = bytearray(raw)
        for _ in range(rng.randint(1, 3)):
            damaged[rng.randrange(len(damaged))] = rng.randrange(256)
        try:
            decode_in_pieces(
                bytes(damaged[: rng.choice([None, rng.randrange(len(raw))])]), _OPTIONS
            )
        except BSONError:
            refused += 1
    assert 1000 < refused < 3000


def test_deprecated_types_are_passed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Undefined, symbol and DBPointer, which PyMongo reads and doesn't write, end where they do."""
    undefined = b"\x06a\x00"
    symbol = b"\x0eb\x00\x02\x00\x00\x00s\x00"
    pointer = b"\x0cc\x00\x02\x00\x00\x00d\x00" + b"o" * 12
    elements = undefined + symbol + pointer + b"\x08e\x00\x01"
    raw = (len(elements) + 5).to_bytes(4, "little") + elements + b"\x00"
    monkeypatch.setattr(pieces, "PIECE_BYTES", 1)
    assert decode_in_pieces(raw, _OPTIONS) == bson.decode(raw, _OPTIONS)
