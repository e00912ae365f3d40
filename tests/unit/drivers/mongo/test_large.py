"""Reading an event that is too large, from servers that split events and from those that don't."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pytest
from pymongo.errors import OperationFailure

from mnc.capture.options import CaptureOptions
from mnc.drivers.mongo.cursor import CursorReply, Document
from mnc.drivers.mongo.large import LargeEventReader

_PIPELINE: tuple[Mapping[str, object], ...] = ({"$changeStream": {}}, {"$match": {}})
_LIMIT = 100
_TOKEN = {"_data": "82AB"}


class _Server:
    """Serves one event of a pipeline, as MongoDB does with a much larger limit."""

    def __init__(self, event: Document, *, can_split: bool) -> None:
        self.open_cursors = 0
        self.answers_before_it = 1
        """How many replies without it come first."""
        self._event = event
        self._can_split = can_split

    def cursor(self) -> _Cursor:
        return _Cursor(self)

    def fragments(self, stage: Mapping[str, Any]) -> Sequence[Document]:
        match stage:
            case {"$project": left_out}:
                event = {name: it for name, it in self._event.items() if name not in left_out}
                if _size(event) > _LIMIT:
                    raise OperationFailure("too large", 10334)
                return [{"_id": _TOKEN, **event}]
            case {"$changeStreamSplitLargeEvent": {}}:
                if not self._can_split:
                    raise OperationFailure("Unrecognized pipeline stage name", 40324)
                return self._split()
        raise AssertionError(stage)

    def _split(self) -> Sequence[Document]:
        if _size(self._event) <= _LIMIT:
            return [{"_id": _TOKEN, **self._event}]
        names = list(self._event)
        return [
            {
                "_id": {"_data": f"82AB{number:02}"},
                "splitEvent": {"fragment": number, "of": len(names)},
                name: self._event[name],
            }
            for number, name in enumerate(names, 1)
        ]


class _Cursor:
    def __init__(self, server: _Server) -> None:
        self._server = server
        self._stage: Mapping[str, Any] = {}
        self._fragments: list[Document] = []
        self._waits = server.answers_before_it

    def open(self, pipeline: Sequence[Mapping[str, object]]) -> None:
        assert tuple(pipeline[:-1]) == _PIPELINE
        self._server.open_cursors += 1
        self._stage = pipeline[-1]
        if "$project" not in self._stage:  # what is wrong with a stage is said at once
            self._fragments = list(self._server.fragments(self._stage))

    def more(self, batch_size: int) -> CursorReply:
        assert batch_size == 1
        if self._waits:
            self._waits -= 1
            return _reply()
        if not self._fragments:
            self._fragments = list(self._server.fragments(self._stage))
        return _reply(self._fragments.pop(0))

    def close(self) -> None:
        self._server.open_cursors -= 1


def _reply(*events: Document) -> CursorReply:
    size_bytes = sum(_size(event) for event in events)
    return CursorReply(events=events, token={}, size_bytes=size_bytes, is_last=False)


def _size(event: Document) -> int:
    return sum(len(value) for value in event.values() if isinstance(value, str))


def _update(*, before: int = 0, after: int = 0, description: int = 0) -> Document:
    sizes = {
        "fullDocumentBeforeChange": before,
        "fullDocument": after,
        "updateDescription": description,
    }
    fields = {name: "x" * size for name, size in sizes.items() if size}
    return {"operationType": "update", "documentKey": {"_id": 1}, **fields}


def _read(server: _Server, options: CaptureOptions) -> CursorReply | None:
    return LargeEventReader(server.cursor, options=options).read(_PIPELINE)


_ALL = CaptureOptions(before_change="whenAvailable")


def test_fragments_are_put_together() -> None:
    """From a server that splits events nothing is lost, and the token is that of the whole."""
    event = _update(before=90, after=90, description=90)
    server = _Server(event, can_split=True)
    found = _read(server, _ALL)
    assert found is not None
    assert found.events == [{**event, "_id": _TOKEN}]
    assert found.token == _TOKEN
    assert found.size_bytes >= 270
    assert server.open_cursors == 0


def test_an_event_that_has_become_smaller_is_whole() -> None:
    """What was looked up may have shrunk since: then there is nothing to put together."""
    event = _update(after=50, description=40)
    found = _read(_Server(event, can_split=True), CaptureOptions())
    assert found is not None
    assert found.events == [{**event, "_id": _TOKEN}]


@pytest.mark.parametrize(
    ("event", "options", "truncated"),
    [
        (_update(before=90, after=20), _ALL, ["fullDocumentBeforeChange"]),
        (
            _update(before=40, after=90, description=40),
            _ALL,
            ["fullDocumentBeforeChange", "fullDocument"],
        ),
        (_update(after=90, description=20), CaptureOptions(), ["fullDocument"]),
        (
            _update(before=40, after=90, description=120),
            _ALL,
            ["fullDocumentBeforeChange", "fullDocument", "updateDescription"],
        ),
        (
            _update(before=40, description=120),
            CaptureOptions(before_change="required", full_document="off"),
            ["fullDocumentBeforeChange", "updateDescription"],
        ),
        (
            {"operationType": "insert", "fullDocument": "x" * 120},
            _ALL,
            ["fullDocument"],
        ),
        (
            {"operationType": "delete", "fullDocumentBeforeChange": "x" * 120},
            _ALL,
            ["fullDocumentBeforeChange"],
        ),
    ],
)
def test_what_is_left_out_is_named(
    event: Document, options: CaptureOptions, truncated: list[str]
) -> None:
    """From other servers an event comes without as few fields as can be, and says which."""
    server = _Server(event, can_split=False)
    found = _read(server, options)
    assert found is not None
    rest = {name: value for name, value in event.items() if name not in truncated}
    assert found.events == [{**rest, "_id": _TOKEN, "truncated": truncated}]


def test_an_event_whose_key_is_too_large_is_not_had() -> None:
    """When nothing more can be left out, there is no event."""
    event = {**_update(), "documentKey": "x" * 120}
    assert _read(_Server(event, can_split=False), CaptureOptions()) is None


def test_other_failures_are_raised() -> None:
    """Who can't reach the server takes no event for too large."""

    class Away(_Server):
        def fragments(self, _: Mapping[str, Any]) -> Sequence[Document]:
            raise OperationFailure("interrupted", 11601)

    server = Away(_update(), can_split=True)
    with pytest.raises(OperationFailure, match="interrupted"):
        _read(server, CaptureOptions())
    assert server.open_cursors == 0
