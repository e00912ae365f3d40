"""Hiding fields: what is left out or masked, in documents and in the descriptions of updates."""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.encode.test_event import change_event

from mnc.encode.dead_letter import DeadLetteringEncoder
from mnc.encode.event import Encoder
from mnc.encode.hiding import REDACTED, Exclude, Hash, Hiding, Redact, Treatment

_SECRET = "the secret"  # noqa: S105 - what the tests look for
_KEY = Hash(b"0123456789abcdef")


def _document(document: object, **treatments: Treatment) -> object:
    """Return what is left of a document; `__` in a name stands for a dot."""
    hiding = Hiding.of({path.replace("__", "."): it for path, it in treatments.items()})
    return hiding.apply({"fullDocument": document})["fullDocument"]


def test_an_excluded_field_is_gone() -> None:
    """At any depth, in every element of an array, and nothing else with it."""
    document = {"a": 1, "b": {"c": 2, "d": 3}, "e": [{"c": 4, "d": 5}, [{"c": 6}], 7]}
    assert _document(document, a=Exclude(), b__c=Exclude(), e__c=Exclude()) == {
        "b": {"d": 3},
        "e": [{"d": 5}, [{}], 7],
    }
    assert _document(document, b=Exclude(), e=Exclude()) == {"a": 1}


def test_a_redacted_value_is_a_word() -> None:
    """Whatever it was; that a field is there can still be seen."""
    document = {"a": None, "b": {"c": {"d": 1}}, "e": [1, 2], "f": 3}
    assert _document(document, a=Redact(), b__c=Redact(), e=Redact()) == {
        "a": REDACTED,
        "b": {"c": REDACTED},
        "e": [REDACTED, REDACTED],
        "f": 3,
    }


def test_a_hash_tells_equal_values_and_nothing_else() -> None:
    """With one key equal values have one hash, whatever their field; with another, another."""
    document = {"a": "Ann", "b": "Ann", "c": "Bob", "d": {"x": 1, "y": [2]}}
    hidden: Any = _document(document, a=_KEY, b=_KEY, c=_KEY, d=_KEY)
    assert hidden["a"] == hidden["b"] != hidden["c"]
    assert all(value.startswith("hmac-sha256:") for value in hidden.values())
    other: Any = _document(document, a=Hash(b"another key of 16"))
    assert other["a"] != hidden["a"]
    assert _document({"a": 1j}, a=_KEY) == {"a": REDACTED}


def test_the_key_is_not_shown() -> None:
    """Nobody finds it in a traceback."""
    assert "0123456789" not in repr(Hiding.of({"a": _KEY}))


def test_an_updates_description_is_hidden_by_its_paths() -> None:
    """A path may go through elements, and end above or below what is hidden."""
    hiding = Hiding.of({"a.b": Exclude(), "items.price": Redact(), "gone": Exclude()})
    change = {
        "updateDescription": {
            "updatedFields": {
                "a.b": 1,
                "a.b.c": 2,
                "a.d": 3,
                "a": {"b": 4, "d": 5},
                "items.0.price": 6,
                "items.1": {"price": 7, "n": 8},
                "items": [{"price": 9}],
                "other": 10,
            },
            "removedFields": ["gone", "gone.x", "a.b", "a", "other"],
            "truncatedArrays": [{"field": "gone", "newSize": 1}, {"field": "items", "newSize": 2}],
            "disambiguatedPaths": {"a.b": ["a", "b"], "a.0": ["a", 0]},
        }
    }
    assert hiding.apply(change)["updateDescription"] == {
        "updatedFields": {
            "a.d": 3,
            "a": {"d": 5},
            "items.0.price": REDACTED,
            "items.1": {"price": REDACTED, "n": 8},
            "items": [{"price": REDACTED}],
            "other": 10,
        },
        "removedFields": ["a", "other"],
        "truncatedArrays": [{"field": "items", "newSize": 2}],
        "disambiguatedPaths": {"a.0": ["a", 0]},
    }


def test_a_number_is_a_name_and_an_element() -> None:
    """A field may have a number for a name, and both meanings are hidden."""
    hiding = Hiding.of({"a.0.c.x": Exclude(), "a.c.y": Exclude(), "2024": Redact()})
    change = {
        "updateDescription": {
            "updatedFields": {"a.0.c": {"x": 1, "y": 2, "z": 3}, "2024": 4, "2024.x": 5}
        }
    }
    assert hiding.apply(change)["updateDescription"] == {
        "updatedFields": {"a.0.c": {"z": 3}, "2024": REDACTED, "2024.x": REDACTED}
    }


def test_every_copy_of_a_document_is_hidden() -> None:
    """The document before the change, and a shard key beside the `_id`, are documents too."""
    document = {"_id": 1, "a": _SECRET}
    names = ("fullDocument", "fullDocumentBeforeChange", "documentKey")
    hidden = Hiding.of({"a": Redact()}).apply(dict.fromkeys(names, document))
    assert hidden == {name: {"_id": 1, "a": REDACTED} for name in names}


def test_an_events_message_has_nothing_hidden() -> None:
    """Neither the payload, nor the summary of a large one, nor a dead letter."""
    encoder = DeadLetteringEncoder(Encoder(stream="cs", hiding=Hiding.of({"a": Redact()})))
    document = {"_id": 1, "a": _SECRET, "b": "x" * 5000}
    change = change_event(fullDocument=document, documentKey={"_id": 1, "a": _SECRET})
    event = encoder.encode(change, "users")
    letter = encoder.encode(change | {"fullDocument": {"b": 1j}}, "users")
    assert letter.dead_letter is not None
    for message in (event, letter):
        for part in (message.payload, message.summary):
            assert _SECRET.encode() not in part
    assert json.loads(event.payload)["fullDocument"]["a"] == REDACTED


_NAMES = st.sampled_from(["a", "b", "c", "0", "1"])
_PATHS = st.lists(_NAMES, min_size=1, max_size=4)


def _nested(names: list[str], rng: st.DataObject) -> object:
    """Return a value that has the secret at a path, through arrays here and there."""
    value: object = _SECRET
    for name in reversed(names):
        value = {name: value, "other": 1}
        if rng.draw(st.booleans()):
            value = [2, value]
    return value


@given(_PATHS, st.sampled_from([Exclude(), Redact(), _KEY]), st.lists(_PATHS), st.data())
def test_nothing_at_or_below_a_hidden_path_is_seen(
    path: list[str], treatment: Treatment, others: list[list[str]], data: st.DataObject
) -> None:
    """Whatever the document's shape, and wherever an update's path cuts it in two."""
    treatments: dict[str, Treatment] = {".".join(path): treatment}
    for other in others:
        with_other = {**treatments, ".".join(other): Redact()}
        try:
            Hiding.of(with_other)
        except ValueError:
            continue  # it overlaps
        treatments = with_other
    hiding = Hiding.of(treatments)
    names = [*path, *data.draw(st.lists(_NAMES, max_size=2))]
    cut = data.draw(st.integers(1, len(names)))
    written: list[str] = []
    for name in names[:cut]:
        written += [name, *data.draw(st.sampled_from([[], ["7"]]))]
    inner = _nested(names[cut:], data)
    change: Mapping[str, object] = {
        "fullDocument": {"first": 1, names[0]: _nested(names[1:], data)},
        "updateDescription": {"updatedFields": {".".join(written): inner}},
    }
    before = copy.deepcopy(change)
    assert _SECRET not in repr(hiding.apply(change))
    assert change == before


@pytest.mark.parametrize("paths", [("a", "a.b"), ("a.b", "a"), ("a.b.c", "a.b")])
def test_overlapping_paths_are_refused(paths: tuple[str, ...]) -> None:
    """It would not be clear what becomes of the lower one."""
    with pytest.raises(ValueError, match="another path"):
        Hiding.of(dict.fromkeys(paths, Redact()))
