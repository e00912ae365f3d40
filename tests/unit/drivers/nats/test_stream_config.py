"""What a stream needs, and what of it an operator keeps."""

from __future__ import annotations

from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mnc.drivers.nats.stream_config import (
    BATCH_FLAGS,
    amended_config,
    covers,
    new_config,
    obstacle,
)
from mnc.encode.subject import stream_subjects

_SUBJECTS = stream_subjects("cs")
_BESIDE = ("cs_position.*", "cs_deadletter.*")
_LETTERS = "ab"
_LONGEST = 5

_literals = st.lists(st.sampled_from(_LETTERS), min_size=1, max_size=3)
_patterns = st.builds(
    lambda tokens, tail: ".".join([*tokens, *tail]),
    st.lists(st.sampled_from([*_LETTERS, "*"]), min_size=0, max_size=3),
    st.sampled_from([[">"], ["*"], ["a"]]),
)


def _matches(pattern: list[str], subject: list[str]) -> bool:
    """Match one subject without wildcards, as NATS's documentation says it."""
    match pattern, subject:
        case [], []:
            return True
        case [">"], [_, *_]:
            return True
        case [first, *pattern_rest], [token, *subject_rest] if first in ("*", token):
            return _matches(pattern_rest, subject_rest)
        case _:
            return False


_ALL_SUBJECTS = [
    list(tokens) for length in range(1, _LONGEST + 1) for tokens in product("abc", repeat=length)
]
"""Longer than any pattern, and with a token that no pattern names: a sample that decides."""


def _reach(pattern: str) -> set[int]:
    tokens = pattern.split(".")
    return {number for number, it in enumerate(_ALL_SUBJECTS) if _matches(tokens, it)}


@given(_patterns, _patterns)
def test_a_pattern_covers_another_when_it_matches_all_of_it(wide: str, narrow: str) -> None:
    """`covers` agrees with trying every subject."""
    assert covers(wide, narrow) == (_reach(narrow) <= _reach(wide))


@given(_patterns, _literals)
def test_a_pattern_covers_a_subject_when_it_matches_it(pattern: str, subject: list[str]) -> None:
    """For a subject without wildcards, covering is matching."""
    assert covers(pattern, ".".join(subject)) == _matches(pattern.split("."), subject)


def test_a_new_stream_lacks_nothing() -> None:
    """What a stream is created with needs no amendment, and old messages are never thrown away."""
    config = new_config("cs", _SUBJECTS)
    assert amended_config(config, _SUBJECTS) is None
    assert config["name"] == "cs"
    assert config["discard"] == "new"
    assert config["storage"] == "file"


@given(
    st.lists(
        st.sampled_from(
            ["cs.>", "cs.*.*.*", "cs.users.*.*", "cs_position.*", "cs_position.>", "other.a", ">"]
        ),
        unique=True,
    ),
    st.dictionaries(st.sampled_from(BATCH_FLAGS), st.booleans()),
    st.dictionaries(
        st.sampled_from(["max_age", "max_bytes", "discard", "num_replicas", "description"]),
        st.integers() | st.text(),
    ),
)
def test_an_amendment_adds_what_is_missing_and_keeps_the_rest(
    subjects: list[str], flags: dict[str, bool], chosen: dict[str, object]
) -> None:
    """An amended stream has all it needs, loses no subject, and keeps every other setting.

    Amending it once more changes nothing.
    """
    config = {"name": "cs", "subjects": subjects, **flags, **chosen}
    amended = amended_config(config, _SUBJECTS) or config
    assert all(amended[flag] for flag in BATCH_FLAGS)
    held = amended["subjects"]
    assert isinstance(held, list)
    for subject in (*_SUBJECTS, *subjects):
        assert any(covers(pattern, subject) for pattern in held)
    assert {name: amended[name] for name in chosen} == chosen
    assert amended_config(amended, _SUBJECTS) is None


def test_an_amendment_leaves_its_argument_alone() -> None:
    """The configuration that was read is not changed in place."""
    config: dict[str, object] = {"name": "cs", "subjects": ["cs.users.*.*"]}
    amended_config(config, _SUBJECTS)
    assert config == {"name": "cs", "subjects": ["cs.users.*.*"]}


@pytest.mark.parametrize(
    ("held", "expected"),
    [
        ([], ["cs.*.*.*", *_BESIDE]),
        (["cs.>"], ["cs.>", *_BESIDE]),
        ([">"], [">"]),
        (["cs.users.*.*", "cs.movies.insert.1"], ["cs.*.*.*", *_BESIDE]),
        (["other", "cs.*.*.*"], ["other", "cs.*.*.*", *_BESIDE]),
    ],
)
def test_a_wider_subject_replaces_what_it_covers(held: list[str], expected: list[str]) -> None:
    """Subjects of one stream may not overlap, so what a new one covers goes."""
    amended = amended_config({"subjects": held, **dict.fromkeys(BATCH_FLAGS, True)}, _SUBJECTS)
    assert (amended or {"subjects": held})["subjects"] == expected


@pytest.mark.parametrize("subjects", [None, "absent"])
def test_a_stream_without_subjects_gets_them(subjects: str | None) -> None:
    """A stream that mirrors or sources another may have no subjects of its own."""
    config: dict[str, object] = {"name": "cs"} if subjects else {"name": "cs", "subjects": None}
    amended = amended_config(config, _SUBJECTS)
    assert amended is not None
    assert amended["subjects"] == list(_SUBJECTS)


@pytest.mark.parametrize(
    ("chosen", "said"),
    [
        ({"mirror": {"name": "other"}}, "mirror"),
        ({"sealed": True}, "sealed"),
        ({"deny_purge": True}, "purging"),
        ({"persist_mode": "async"}, "async"),
        ({"no_ack": True}, "--ack"),
        ({"retention": "interest"}, "--retention limits"),
    ],
)
def test_a_stream_that_would_lose_events_is_an_obstacle(
    chosen: dict[str, object], said: str
) -> None:
    """What an operator chose that breaks fences or markers is told with its remedy."""
    found = obstacle({**new_config("cs", ["cs.*.*.*"]), **chosen})
    assert found is not None
    assert said in "; ".join(found)


def test_a_new_stream_is_no_obstacle() -> None:
    """What mnc makes itself, it can use."""
    assert obstacle(new_config("cs", ["cs.*.*.*"])) is None
