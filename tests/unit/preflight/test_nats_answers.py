"""What nats-server's answers mean for the facts."""

from __future__ import annotations

import pytest

from mnc.drivers.nats.inspect import denied_subjects, stream_facts
from mnc.encode.subject import stream_subjects

_SUBJECTS = stream_subjects("cs")
_CONFIG = {
    "name": "cs",
    "subjects": ["cs.>", "cs_position.*", "cs_deadletter.*"],
    "retention": "limits",
    "max_msgs": -1,
    "max_bytes": -1,
    "max_age": 0,
    "max_msgs_per_subject": -1,
    "max_msg_size": -1,
    "discard": "new",
    "storage": "file",
    "num_replicas": 1,
    "duplicate_window": 120_000_000_000,
    "sealed": False,
    "deny_purge": False,
    "allow_rollup_hdrs": True,
    "allow_msg_ttl": True,
    "allow_atomic": True,
}


@pytest.mark.parametrize(
    ("publish", "denied"),
    [
        ({}, []),
        ({"allow": [">"]}, []),
        ({"allow": ["cs.>", "cs_position.>"]}, []),
        ({"allow": ["cs.users.*.*", "cs_position.users"]}, []),
        ({"allow": ["cs.users.insert.*", "cs_position.users"]}, ["cs.users.*.*"]),
        ({"allow": ["$JS.API.>"]}, ["cs.users.*.*", "cs_position.users"]),
        ({"deny": ["cs.>"]}, ["cs.users.*.*"]),
        ({"deny": ["cs.*.delete.*"]}, ["cs.users.*.*"]),
        ({"deny": ["cs.movies.>", "cs", "cs.users.insert"]}, []),
        ({"allow": [">"], "deny": ["cs_position.*"]}, ["cs_position.users"]),
    ],
)
def test_what_is_denied_in_part_is_denied(publish: dict[str, list[str]], denied: list[str]) -> None:
    """A subject that the user may not use for every event is one that it lacks."""
    assert denied_subjects(publish, ["cs.users.*.*", "cs_position.users"]) == denied


def test_a_stream_that_has_all_lacks_nothing() -> None:
    """Wider subjects than needed do, and what JetStream writes for "no limit" is 0."""
    facts = stream_facts(
        {"config": _CONFIG, "state": {"messages": 5}}, subjects=_SUBJECTS, markers={}
    )
    assert facts.messages == 5
    assert facts.lacks == []
    assert facts.duplicate_window_s == 120
    limits = (facts.max_messages, facts.max_bytes, facts.max_age_s, facts.max_message_bytes)
    assert limits == (0, 0, 0, 0)


def test_what_a_stream_lacks_is_named() -> None:
    """Subjects and flags that `mnc serve` would add are told apart from what is there."""
    config = {**_CONFIG, "subjects": ["cs.>"], "allow_atomic": False, "no_ack": True}
    del config["allow_msg_ttl"]
    facts = stream_facts(
        {"config": config, "state": {"messages": 0}}, subjects=_SUBJECTS, markers={}
    )
    subjects = {"subject cs_position.*", "subject cs_deadletter.*"}
    assert set(facts.lacks) == {*subjects, "allow_atomic", "allow_msg_ttl"}
    assert not facts.takes_batches
    assert facts.obstacle is not None


def test_a_stream_takes_batches_without_dead_letters() -> None:
    """A missing place for dead letters is named, and is no reason to publish without batches."""
    config = {**_CONFIG, "subjects": ["cs.>", "cs_position.*"]}
    facts = stream_facts(
        {"config": config, "state": {"messages": 0}}, subjects=_SUBJECTS, markers={}
    )
    assert facts.lacks == ["subject cs_deadletter.*"]
    assert facts.takes_batches
