"""The rules for names are MongoDB's and NATS's own."""

from __future__ import annotations

import pytest

from mnc.config.names import (
    check_collection,
    check_database,
    check_stream,
    check_subject,
    check_unique,
)


@pytest.mark.parametrize("name", ["shop", "a*b", "é", "a:b", "x" * 63])
def test_legal_databases_pass(name: str) -> None:
    """A name that a MongoDB server accepts for a database is accepted."""
    assert check_database(name) == name


@pytest.mark.parametrize(
    "name", ["", "a b", "a.b", "a$b", "a/b", "a\\b", 'a"b', "a\0b", "x" * 64, "é" * 32]
)
def test_illegal_databases_are_refused(name: str) -> None:
    """A name that a MongoDB server refuses for a database is refused."""
    with pytest.raises(ValueError, match="database"):
        check_database(name)


@pytest.mark.parametrize("name", ["admin", "config", "local"])
def test_internal_databases_are_refused(name: str) -> None:
    """MongoDB opens no change stream on its own databases, so they can't be watched."""
    with pytest.raises(ValueError, match="no change stream"):
        check_database(name)


@pytest.mark.parametrize(
    "name", ["users", "a..b", "a.", " a", "é", "a/b", 'a"b', "tab\tx", "system", "systemx.y"]
)
def test_legal_collections_pass(name: str) -> None:
    """A name that a MongoDB server accepts for a collection is accepted."""
    assert check_collection(name, database="test") == name


@pytest.mark.parametrize(
    "name", ["", ".a", "a$b", "$a", "system.foo", "system.views", "a.system.b", "a\0b", "x" * 251]
)
def test_illegal_collections_are_refused(name: str) -> None:
    """A name that MongoDB refuses, or keeps for itself, is refused."""
    with pytest.raises(ValueError, match=r"collection|bytes"):
        check_collection(name, database="test")


@pytest.mark.parametrize("name", ["users*", "*", "user?"])
def test_patterns_are_refused(name: str) -> None:
    """A pattern is not silently taken for a name."""
    with pytest.raises(ValueError, match="pattern"):
        check_collection(name)


@pytest.mark.parametrize("name", ["cs", "shop-1_b", "é", "x" * 255, "a:b", "a$b"])
def test_legal_streams_pass(name: str) -> None:
    """A name that a NATS server accepts for a stream, and in a subject, is accepted."""
    assert check_stream(name) == name


@pytest.mark.parametrize(
    "name",
    [
        "",
        "a.b",
        "a b",
        "a*",
        ">",
        "a/b",
        "a\\b",
        "a\tb",
        "a\x7f",
        "x" * 256,
        "$JS",
        "_INBOX",
        "OBJ_a",
    ],
)
def test_illegal_streams_are_refused(name: str) -> None:
    """A name that would break the subjects, or take NATS's own, is refused."""
    with pytest.raises(ValueError, match=r"."):
        check_stream(name)


def test_a_name_that_stands_twice_is_named() -> None:
    """The error says which name is repeated."""
    assert check_unique(("a", "b")) == ("a", "b")
    with pytest.raises(ValueError, match="'b' stands there 3 times"):
        check_unique(("a", "b", "b", "b"))


@pytest.mark.parametrize(
    "template",
    [
        "{stream}.{collection}.{operation}.{id}",
        "{stream}.{collection}.{operation}.all",
        "{stream}.{collection}.v-1.x_2",
    ],
)
def test_templates_of_four_parts_pass(template: str) -> None:
    """The last two parts of a subject are the event's or words."""
    assert check_subject(template) == template


@pytest.mark.parametrize(
    "template",
    [
        "",
        "{stream}.{collection}.{operation}",
        "{stream}.{collection}.{operation}.{id}.more",
        "{collection}.{stream}.{operation}.{id}",
        "{stream}.{collection}.{id}.{operation}",
        "{stream}.{collection}.{operation}.*",
        "{stream}.{collection}.{operation}.é",
        "{stream}.{collection}.{operation}.{_id}",
        "{stream}.{collection}.{operation}.{id}\n",
        "cs.{collection}.{operation}.{id}",
    ],
)
def test_other_templates_are_refused(template: str) -> None:
    """What the stream doesn't take, or where a position couldn't be found, is refused."""
    with pytest.raises(ValueError, match="other parts"):
        check_subject(template)
