"""Subjects: the grammar, and collections' names in it."""

from __future__ import annotations

import hashlib
import re

import pytest
from hypothesis import given, settings
from tests.unit.encode.bson_values import names, values

from mnc.encode.part import Digest
from mnc.encode.subject import (
    SubjectForm,
    dead_letter_subject,
    decode_name,
    encode_name,
    event_subject,
    marker_subject,
    stream_subjects,
)

EXAMPLES = [
    ("users", "users"),
    ("user_events-2", "user_events-2"),
    ("system.views", "system%2Eviews"),
    ("a b\tc", "a%20b%09c"),
    ("a*b>c", "a%2Ab%3Ec"),
    ("$cmd", "%24cmd"),
    ("app:users", "app%3Ausers"),
    ("50%", "50%25"),
    ("Zoë", "Zo%C3%AB"),
    ("42", "42"),
    ("h:0", "h%3A0"),
    ("", "s:"),
]


@pytest.mark.parametrize(("name", "part"), EXAMPLES)
def test_a_name_is_readable_and_escaped(name: str, part: str) -> None:
    """A plain name stands as it is; every other character is escaped and comes back."""
    assert encode_name(name) == part
    assert decode_name(part) == name


def test_a_name_too_long_when_escaped_becomes_a_digest() -> None:
    """MongoDB's longest names, 255 bytes, don't make a subject too long, and stay apart."""
    name = "é" * 127
    part = encode_name(name)
    assert part == f"h:{hashlib.sha256(b'%C3%A9' * 127).hexdigest()}"
    assert decode_name(part) == Digest(part[2:])
    assert encode_name("é" * 126) != part


@pytest.mark.parametrize("part", ["", "a.b", "a:b", "s:a", "%2a", "%61", "%FF", "h:0"])
def test_what_is_no_name_is_refused(part: str) -> None:
    """Decoding accepts nothing that encoding doesn't produce."""
    with pytest.raises(ValueError):  # noqa: PT011 - which one of Python's own doesn't matter
        decode_name(part)


@settings(max_examples=200, deadline=None)
@given(names)
def test_any_name_comes_back(name: str) -> None:
    """No two names share a part, because each comes back from its own."""
    assert decode_name(encode_name(name)) in {name, Digest(encode_name(name)[2:])}


@settings(max_examples=200, deadline=None)
@given(names, values)
def test_any_event_subject_is_four_parts_of_bounded_length(
    collection: str, document_id: object
) -> None:
    """A subject matches its stream's first wildcard, is ASCII without white space, and bounded."""
    subject = event_subject(
        stream="cs", collection=collection, operation="replace", document_id=document_id
    )
    assert re.fullmatch(r"cs\.[^.*>\s]{1,200}\.replace\.[^.*>\s]{1,200}", subject)
    assert subject.isascii()
    assert subject.isprintable()


def test_subjects_are_those_of_the_grammar() -> None:
    """Events, markers and dead letters have subjects that the stream's three wildcards match."""
    event = event_subject(stream="cs", collection="a.b", operation="insert", document_id="x y")
    assert event == "cs.a%2Eb.insert.s:x%20y"
    assert marker_subject(stream="cs", collection="a.b") == "cs_position.a%2Eb"
    assert dead_letter_subject(event) == "cs_deadletter.a%2Eb"
    assert stream_subjects("cs") == ("cs.*.*.*", "cs_position.*", "cs_deadletter.*")


@pytest.mark.parametrize(
    ("template", "subject"),
    [
        ("{stream}.{collection}.{operation}.{id}", "cs.a%2Eb.insert.7"),
        ("{stream}.{collection}.{operation}.all", "cs.a%2Eb.insert.all"),
        ("{stream}.{collection}.any.{id}", "cs.a%2Eb.any.7"),
        ("{stream}.{collection}.any.all", "cs.a%2Eb.any.all"),
    ],
)
def test_words_stand_in_the_place_of_what_an_event_tells(template: str, subject: str) -> None:
    """A template gives four parts, of which the last two may be words."""
    form = SubjectForm.of(template)
    given = event_subject(
        stream="cs", collection="a.b", operation="insert", document_id=7, form=form
    )
    assert given == subject
