"""Subjects of NATS messages, and the collections' names in them.

Theory of operation. A subject's parts are joined by dots. The stream's name and the operation stand
as they are. The collection's name and the document's `_id` (see `mnc.encode.document_id`) are
encoded: whatever they are, they give one part that is never empty, no wildcard and not too long.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Final, NamedTuple

from mnc.encode.document_id import encode_document_id
from mnc.encode.part import Digest, bounded, digest_of, escape, unescape
from mnc.model import StoredOperation

__all__ = [
    "StreamSubjects",
    "SubjectForm",
    "dead_letter_subject",
    "decode_name",
    "encode_name",
    "event_filters",
    "event_subject",
    "filters_of_marker",
    "marker_subject",
    "stream_subjects",
]

_EMPTY_NAME: Final = "s:"
_NAMES_KEPT: Final = 1024
"""Encoded names that are remembered: more collections than one process watches, in 200 KB."""


class SubjectForm(NamedTuple):
    """The words that stand in an event's subject in the place of what it tells; None: nothing."""

    operation: str | None = None
    document_id: str | None = None

    @classmethod
    def of(cls, template: str) -> SubjectForm:
        """Read a template of four parts, such as `{stream}.{collection}.{operation}.all`."""
        words = (None if part.startswith("{") else part for part in template.split(".")[2:])
        return cls(*words)


def event_subject(
    *,
    stream: str,
    collection: str,
    operation: StoredOperation,
    document_id: object,
    form: SubjectForm = SubjectForm(),  # noqa: B008 - immutable
) -> str:
    """Return the subject of a change event: `<stream>.<collection>.<operation>.<document id>`.

    The last two are words where `form` has some. `stream` is a stream's name, so NATS allows it in
    a subject. What follows it is ASCII, at most 2 * PART_LIMIT + 50 bytes. Raises TypeError for a
    `document_id` that no BSON document holds.
    """
    name = encode_name(collection)
    last = form.document_id or encode_document_id(document_id)
    return f"{stream}.{name}.{form.operation or operation}.{last}"


def marker_subject(*, stream: str, collection: str) -> str:
    """Return the subject of a collection's position marker: `<stream>_position.<collection>`."""
    return f"{stream}_position.{encode_name(collection)}"


def dead_letter_subject(subject: str) -> str:
    """Return the subject for dead letters: `<stream>_deadletter.<collection>`.

    `subject` is where the event belongs, as `event_subject` returned it.
    """
    stream, name, *_ = subject.split(".")
    return f"{stream}_deadletter.{name}"


def event_filters(stream: str, collection: str | None = None) -> tuple[str, ...]:
    """Return the filters for the events of one collection, or of all: dead letters come last."""
    return _filters(stream, "*" if collection is None else encode_name(collection))


def filters_of_marker(marker: str, *, stream: str) -> tuple[str, ...]:
    """Return the filters for the events of the collection whose marker has the subject `marker`."""
    return _filters(stream, marker.removeprefix(f"{stream}_position."))


def _filters(stream: str, name: str) -> tuple[str, ...]:
    events = f"{stream}.{name}.*.*"
    return (events, dead_letter_subject(events))


class StreamSubjects(NamedTuple):
    """The wildcards for what a stream has to store."""

    events: str
    markers: str
    dead_letters: str


def stream_subjects(stream: str) -> StreamSubjects:
    """Return the wildcards for what the stream named `stream` has to store."""
    events, dead_letters = event_filters(stream)
    return StreamSubjects(events, f"{stream}_position.*", dead_letters)


@lru_cache(maxsize=_NAMES_KEPT)
def encode_name(name: str) -> str:
    """Encode a collection's name: escaped, the colon too, so that only a tag has one."""
    return bounded(escape(name).replace(":", "%3A") or _EMPTY_NAME)


def decode_name(part: str) -> str | Digest:
    """Return the collection's name, or its digest if the name was too long for a subject.

    Raises ValueError for what `encode_name` doesn't return.
    """
    digest = digest_of(part)
    if digest is not None:
        return digest
    name = unescape(part.removeprefix(_EMPTY_NAME))
    if encode_name(name) != part:
        raise ValueError("not a collection name's part")
    return name
