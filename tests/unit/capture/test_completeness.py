"""What an event lacks of the documents that it was meant to hold."""

from __future__ import annotations

import pytest

from mnc.capture.completeness import Lack, lacks
from mnc.capture.ports import ChangeDocument


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({}, []),
        ({"fullDocument": {"_id": 1}}, []),
        ({"fullDocument": None}, [Lack("fullDocument", "missing")]),
        (
            {"fullDocument": {"_id": 1}, "fullDocumentBeforeChange": None},
            [Lack("fullDocumentBeforeChange", "missing")],
        ),
    ],
)
def test_a_document_that_was_not_found_is_lacking(
    fields: ChangeDocument, expected: list[Lack]
) -> None:
    """A null is lacking; a field that the settings don't ask for isn't."""
    assert list(lacks({"operationType": "update", **fields})) == expected


def test_what_was_too_large_is_lacking() -> None:
    """What the driver left out of an event, to have it at all, is named."""
    change = {"operationType": "update", "truncated": ["fullDocument", "updateDescription"]}
    assert list(lacks(change)) == [
        Lack("fullDocument", "too_large"),
        Lack("updateDescription", "too_large"),
    ]
