"""What a user has MongoDB do with change events before it sends them. Pure.

A pipeline is kept as text in one form, because texts can be compared: collections with the same one
share a change stream. It may look at everything, and change documents alone: subjects, resume
tokens and the order are made of the rest. What only the server can judge, such as the operators in
a condition, is left to it.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Final

import bson
from bson import json_util
from bson.errors import BSONError

__all__ = ["NO_PIPELINE", "check_pipeline", "pipeline_stages"]

NO_PIPELINE: Final = "[]"

_ONE_FORM: Final = (",", ":")


def check_pipeline(text: str) -> str:
    """Return a pipeline's text in the form that all have, if the connector can do with it.

    Raises ValueError with a problem that a user can act on.
    """
    try:
        stages = pipeline_stages(text)
        bson.encode({"": stages})
    except RecursionError:
        problem = "it is nested too deeply"
    except (ValueError, TypeError, OverflowError, BSONError) as error:
        problem = f"it is no Extended JSON: {error}"
    else:
        if not isinstance(stages, list):
            raise ValueError("it is no array")  # noqa: TRY004 - a value
        for number, stage in enumerate(stages, 1):
            _check_stage(stage, f"stage {number}")
        return json.dumps(json.loads(text), separators=_ONE_FORM, ensure_ascii=False)
    raise ValueError(problem)


def pipeline_stages(text: str) -> Sequence[Mapping[str, object]]:
    """Return the stages of a checked pipeline as MongoDB's client takes them."""
    stages: Sequence[Mapping[str, object]] = json.loads(text, object_pairs_hook=_document)
    return stages


def _document(pairs: Sequence[tuple[str, object]]) -> object:
    """Return an object of Extended JSON: a document, or what it stands for, such as an ObjectId."""
    document = dict(pairs)
    if len(document) < len(pairs):
        # Python would keep the last one, and half of a condition would be gone in silence.
        raise ValueError("a name stands twice in one object")
    if "$regex" in document:
        return document  # a condition; taken for a value it would lose what stands beside it
    return json_util.object_hook(document)


def _check_stage(stage: object, place: str) -> None:
    if not isinstance(stage, dict) or len(stage) != 1:
        raise ValueError(f"{place} has to be an object with one name, that of the stage")
    ((name, spec),) = stage.items()
    match name, spec:
        case "$match", dict():
            pass
        case "$unset", str(path):
            _check_removed(path, place)
        case "$unset", [_, *_]:
            for path in spec:
                _check_removed(path, place)
        case "$project", dict(fields) if fields:
            for path, value in _leaves(fields):
                if not isinstance(value, bool | int | float) or value:
                    raise ValueError(f"{place}: {path!r}: 0 alone is allowed, to leave a field out")
                _check_removed(path, place)
        case "$addFields" | "$set", dict(fields) if fields:
            for path in fields:
                _check_set(path, place)
        case "$match" | "$unset" | "$project" | "$addFields" | "$set", _:
            raise ValueError(f"{place}: {name} says nothing that it could do")
        case _:
            raise ValueError(f"{place}: {name} is not allowed")


def _leaves(fields: Mapping[str, object], above: str = "") -> Iterator[tuple[str, object]]:
    """Yield the paths of a projection, which may be nested, with what it says of each."""
    for name, value in fields.items():
        if isinstance(value, dict) and value:
            yield from _leaves(value, f"{above}{name}.")
        else:
            yield f"{above}{name}", value


def _check_removed(path: object, place: str) -> None:
    match _names(path):
        case ["updateDescription"] | ["updateDescription", _]:
            pass
        case _:
            _check_set(path, place)


def _check_set(path: object, place: str) -> None:
    # Hiding goes through the other parts of updateDescription, and relies on their form.
    match _names(path):
        case ["fullDocument" | "fullDocumentBeforeChange", *_]:
            pass
        case ["updateDescription", "updatedFields", *_]:
            pass
        case _:
            raise ValueError(
                f"{place}: {path!r} may not be changed, but what is in fullDocument, "
                "fullDocumentBeforeChange and updateDescription.updatedFields; parts of "
                "updateDescription may be left out"
            )


def _names(path: object) -> Sequence[str]:
    return path.split(".") if isinstance(path, str) else ()
