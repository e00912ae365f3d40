"""Hidden fields in what a real MongoDB says of all kinds of updates."""

from __future__ import annotations

import json
from typing import Any

import pytest
import trio
from tests.contract.sources import MongoHarness, read_after

from mnc.encode.event import Encoder
from mnc.encode.hiding import Exclude, Hash, Hiding, Redact

pytestmark = pytest.mark.usefixtures("deadline")

_SECRET = "nobody-may-see-this"  # noqa: S105 - what the test looks for

_HIDING = Hiding.of(
    {
        "ssn": Exclude(),
        "address.street": Redact(),
        "cards.number": Hash(b"0123456789abcdef"),
        "tags": Redact(),
    }
)


async def test_no_update_shows_what_is_hidden(mongo: MongoHarness) -> None:
    """However a field is written, whole, in part, in an array or by a pipeline, it stays hidden."""
    start = await mongo.source.current_token()
    users: Any = mongo.database["users"]
    card = {"number": _SECRET, "valid": 2030}
    document = {
        "ssn": {"a": _SECRET},
        "address": {"street": _SECRET, "city": "Brno"},
        "cards": [card, card],
        "tags": [_SECRET, _SECRET],
    }
    updates: list[Any] = [
        {"$set": {"ssn.a": f"{_SECRET}2"}},
        {"$set": {"address": {"street": f"{_SECRET}3", "city": "Praha"}}},
        {"$set": {"address.street": f"{_SECRET}4"}},
        {"$set": {"cards.0.number": f"{_SECRET}5"}},
        {"$push": {"cards": {"number": f"{_SECRET}6", "valid": 2031}}},
        {"$set": {"tags.1": f"{_SECRET}7"}},
        {"$push": {"tags": f"{_SECRET}8"}},
        [{"$set": {"tags": {"$slice": ["$tags", 1]}}}],
        {"$set": {"cards.$[].number": f"{_SECRET}9"}},
        {"$unset": {"ssn": ""}},
    ]

    def write() -> None:
        users.insert_one({"_id": 1, **document})
        for update in updates:
            assert users.update_one({"_id": 1}, update).modified_count == 1
        users.replace_one({"_id": 1}, document)

    await trio.to_thread.run_sync(write)
    found = await read_after(mongo.source, ["users"], start, count=len(updates) + 2)
    encoder = Encoder(stream="cs", hiding=_HIDING)
    payloads = [encoder.encode(change, "users").payload for change in found]
    assert not any(_SECRET.encode() in payload for payload in payloads)
    first = json.loads(payloads[0])["fullDocument"]
    assert first["address"] == {"street": "[redacted]", "city": "Brno"}
    assert [card["valid"] for card in first["cards"]] == [2030, 2030]
    assert "ssn" not in first
