"""A reader of the stream alone can rebuild the collections: that is what the stream is for."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pytest
from bson import Binary, Code, Decimal128, Int64, MaxKey, MinKey, ObjectId, Timestamp, json_util
from tests.deployment import Deploy, Deployment

Document = dict[str, Any]
Change = Mapping[str, Any]
Applied = Callable[[Document, Change], Document]
"""Makes the document after an update from the one before it and the event."""

COLLECTIONS = ("users", "movies.2024", "Žluté kočky > 3")
EVENTS = 1500


def any_id(rng: random.Random, number: int) -> object:
    """Make an `_id` of any type that MongoDB takes, each value once."""
    once = {1: None, 2: True, 3: False, 4: MinKey(), 5: MaxKey(), 6: "", 7: float("inf")}
    if number in once:
        return once[number]
    return rng.choice(
        (
            number,
            -Int64(2**40 + number),
            number + 0.5,
            Decimal128(f"{number}.25"),
            ObjectId(rng.randbytes(12)),
            str(number),
            f"{number}.*.>/ \t%☃",
            f"long {number} " * 100,
            number.to_bytes(4, "big"),
            Binary(number.to_bytes(4, "big"), 0x80),
            Binary.from_uuid(UUID(int=number)),
            datetime.fromtimestamp(number, UTC),
            Timestamp(number, 1),
            Code(f"f({number})"),
            {"a": number, "b": {"c": [number, None]}},
        )
    )


def apply_description(document: Document, change: Change) -> Document:
    """Apply what an update event says of its own change."""
    description = change["updateDescription"]
    for path in description["removedFields"]:
        parent, field = locate(document, path)
        del parent[field]
    for truncated in description["truncatedArrays"]:
        parent, field = locate(document, truncated["field"])
        del parent[field][truncated["newSize"] :]
    for path, value in description["updatedFields"].items():
        parent, field = locate(document, path)
        if isinstance(parent, list):
            parent.extend([None] * (field + 1 - len(parent)))
        parent[field] = value
    return document


def locate(document: Document, path: str) -> tuple[Any, Any]:
    """Return the container and the key or index that a dotted path leads to."""
    *parents, last = path.split(".")
    container: Any = document
    for name in parents:
        container = container[int(name) if isinstance(container, list) else name]
    return container, int(last) if isinstance(container, list) else last


def take_full_document(document: Document, change: Change) -> Document:
    """Take the document as MongoDB looked it up; it was gone by then if there is none."""
    return change["fullDocument"] or document


def replayed(payloads: Iterable[bytes], update: Applied) -> dict[str, dict[str, Document]]:
    """Rebuild the collections: their documents by `_id`, each `_id` as text."""
    collections: dict[str, dict[str, Document]] = {name: {} for name in COLLECTIONS}
    for payload in payloads:
        change = json_util.loads(payload)
        documents = collections[change["ns"]["coll"]]
        key = as_text(change["documentKey"]["_id"])
        match change["operationType"]:
            case "insert" | "replace":
                documents[key] = change["fullDocument"]
            case "update":
                documents[key] = update(documents[key], change)
            case "delete":
                del documents[key]
            case other:
                raise AssertionError(f"{other} is no operation that is published")
    return collections


def as_text(value: object) -> str:
    """Write a value so that equal ones are written the same, NaN and all."""
    # Relaxed Extended JSON doesn't tell the sizes of integers apart: both sides pass through it.
    relaxed = json_util.dumps(value, json_options=json_util.RELAXED_JSON_OPTIONS)
    return json.dumps(json.loads(relaxed), sort_keys=True)


def contents(deployment: Deployment) -> dict[str, dict[str, str]]:
    """Return what the collections hold, as text."""
    return {
        name: {as_text(found["_id"]): as_text(found) for found in deployment.db[name].find()}
        for name in COLLECTIONS
    }


@pytest.mark.parametrize("seed", [1, 2, *(pytest.param(n, marks=pytest.mark.soak) for n in (3, 4))])
def test_stream_rebuilds_the_collections(deploy: Deploy, seed: int) -> None:
    """Payloads, in the stream's order, give the collections' content, whatever the `_id`s' types.

    Applying what each update says that it changed, and taking the document that was looked up, both
    end with the same documents.
    """
    deployment = deploy(collections=COLLECTIONS)
    deployment.start_ready()
    with deployment.writer(seed=seed, make_id=any_id, pause_s=0) as writer:
        writer.wait_for_events(EVENTS, timeout_s=60)
    deployment.finish(writer.events)
    payloads = [message.payload for message in deployment.oracle.messages()]
    expected = contents(deployment)
    assert all(expected.values())
    assert any(b'"truncatedArrays":[{' in payload for payload in payloads)
    for update in (apply_description, take_full_document):
        rebuilt = replayed(payloads, update)
        assert {
            name: {key: as_text(document) for key, document in documents.items()}
            for name, documents in rebuilt.items()
        } == expected
