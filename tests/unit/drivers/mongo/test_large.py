"""Reading an event that is too large, from servers that split events and from those that don't."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pytest
from pymongo.errors import OperationFailure

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

    def fragments(self, stages: Sequence[Mapping[str, Any]]) -> Sequence[Document]:
        match stages:
            case [{"$set": {"truncated": asked}}, {"$project": left_out}]:
                event = {name: it for name, it in self._event.items() if name not in left_out}
                if _size(event) > _LIMIT:
                    raise OperationFailure("too large", 10334)
                assert asked == {name: {"$gt": [f"${name}", None]} for name in left_out}
                there = {name: self._event.get(name) is not None for name in left_out}
                return [{"_id": _TOKEN, **event, "truncated": there}]
            case [{"$changeStreamSplitLargeEvent": {}}]:
                if not self._can_split:
                    raise OperationFailure("Unrecognized pipeline stage name", 40324)
                return self._split()
        raise AssertionError(stages)

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
        self._stages: Sequence[Mapping[str, Any]] = ()
        self._fragments: list[Document] = []
        self._waits = server.answers_before_it

    def open(self, pipeline: Sequence[Mapping[str, object]]) -> None:
        assert tuple(pipeline[: len(_PIPELINE)]) == _PIPELINE
        self._server.open_cursors += 1
        self._stages = pipeline[len(_PIPELINE) :]
        if "$project" not in self._stages[-1]:  # what is wrong with a stage is said at once
            self._fragments = list(self._server.fragments(self._stages))

    def more(self, batch_size: int) -> CursorReply:
        assert batch_size == 1
        if self._waits:
            self._waits -= 1
            return _reply()
        if not self._fragments:
            self._fragments = list(self._server.fragments(self._stages))
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


def _read(server: _Server) -> CursorReply | None:
    return LargeEventReader(server.cursor).read(_PIPELINE)


def test_fragments_are_put_together() -> None:
    """From a server that splits events nothing is lost, and the token is that of the whole."""
    event = _update(before=90, after=90, description=90)
    server = _Server(event, can_split=True)
    found = _read(server)
    assert found is not None
    assert found.events == [{**event, "_id": _TOKEN}]
    assert found.token == _TOKEN
    assert found.size_bytes >= 270
    assert server.open_cursors == 0


def test_an_event_that_has_become_smaller_is_whole() -> None:
    """What was looked up may have shrunk since: then there is nothing to put together."""
    event = _update(after=50, description=40)
    found = _read(_Server(event, can_split=True))
    assert found is not None
    assert found.events == [{**event, "_id": _TOKEN}]


@pytest.mark.parametrize(
    ("event", "truncated"),
    [
        (_update(before=90, after=20), ["fullDocumentBeforeChange"]),
        (
            _update(before=40, after=90, description=40),
            ["fullDocumentBeforeChange", "fullDocument"],
        ),
        (_update(after=90, description=20), ["fullDocument"]),
        (
            _update(before=40, after=90, description=120),
            ["fullDocumentBeforeChange", "fullDocument", "updateDescription"],
        ),
        (
            _update(before=40, description=120),
            ["fullDocumentBeforeChange", "updateDescription"],
        ),
        (
            {"operationType": "insert", "fullDocument": "x" * 120},
            ["fullDocument"],
        ),
        (
            {"operationType": "update", "fullDocument": None, "updateDescription": "x" * 120},
            ["updateDescription"],
        ),
        (
            {"operationType": "delete", "fullDocumentBeforeChange": "x" * 120},
            ["fullDocumentBeforeChange"],
        ),
    ],
)
def test_what_is_left_out_is_named(event: Document, truncated: list[str]) -> None:
    """From other servers an event comes without as few fields as can be, and says which."""
    server = _Server(event, can_split=False)
    found = _read(server)
    assert found is not None
    rest = {name: value for name, value in event.items() if value and name not in truncated}
    assert found.events == [{**rest, "_id": _TOKEN, "truncated": truncated}]


def test_an_event_whose_key_is_too_large_is_not_had() -> None:
    """When nothing more can be left out, there is no event."""
    event = {**_update(), "documentKey": "x" * 120}
    assert _read(_Server(event, can_split=False)) is None


def test_other_failures_are_raised() -> None:
    """Who can't reach the server takes no event for too large."""

    class Away(_Server):
        def fragments(self, _: Sequence[Mapping[str, Any]]) -> Sequence[Document]:
            raise OperationFailure("interrupted", 11601)

    server = Away(_update(), can_split=True)
    with pytest.raises(OperationFailure, match="interrupted"):
        _read(server)
    assert server.open_cursors == 0
