"""Whether each collection can go on from where it stands."""

from __future__ import annotations

from dataclasses import replace

import pytest
from tests.unit.preflight.facts import GOOD_ACCOUNT, GOOD_MONGO, GOOD_NATS, GOOD_STREAM, NOW

from mnc.errors import (
    CheckpointUnavailableError,
    SinkError,
    SinkUnavailableError,
    SourceError,
    SourceUnavailableError,
)
from mnc.model import Checkpoint, Position, ResumeToken, StreamSeq
from mnc.preflight.facts import MongoFacts, NatsFacts
from mnc.preflight.positions import position_findings

_MONTH_S = 30 * 86400


def _checkpoint(*, age_s: int, stream_seq: int = 0) -> Checkpoint:
    token = ResumeToken(f"82{NOW.seconds - age_s:08X}000000012B0229296E04")
    return Checkpoint(position=Position(token=token), stream_seq=StreamSeq(stream_seq))


def _stored(**ages_s: int) -> MongoFacts:
    return replace(
        GOOD_MONGO,
        checkpoints={name: _checkpoint(age_s=age_s) for name, age_s in ages_s.items()},
    )


def _marked(**ages_s: int) -> NatsFacts:
    markers = {name: _checkpoint(age_s=age_s, stream_seq=7) for name, age_s in ages_s.items()}
    stream = replace(GOOD_STREAM, markers=markers)
    return replace(GOOD_NATS, account=replace(GOOD_ACCOUNT, stream=stream))


@pytest.mark.parametrize(
    ("mongo", "nats", "expected"),
    [
        (_stored(), _marked(), [("ok", "users, movies: none yet")]),
        (_stored(users=60, movies=90), _marked(), [("ok", "users, movies: the oldest is of 90 s")]),
        (
            _stored(users=60),
            _marked(),
            [("ok", "users: the oldest is of 60 s"), ("ok", "movies: none yet")],
        ),
        # The marker is the truth; the document may lag for as long as it likes.
        (
            _stored(users=_MONTH_S, movies=60),
            _marked(users=60),
            [("ok", "users, movies: the oldest is of 60 s")],
        ),
        (
            _stored(users=_MONTH_S, movies=60),
            _marked(),
            [("problem", "no longer reaches back to those of users"), ("ok", "movies: ")],
        ),
        (
            _stored(users=-3600, movies=-5),
            _marked(),
            [("problem", "those of users lie in the future"), ("ok", "movies: the oldest is of 0")],
        ),
        (
            replace(_stored(users=_MONTH_S, movies=60), oplog=None),
            _marked(),
            [("ok", "users, movies: the oldest is of 30 days")],
        ),
    ],
)
def test_a_position_is_compared_with_the_oplog(
    mongo: MongoFacts, nats: NatsFacts, expected: list[tuple[str, str]]
) -> None:
    """Each collection has one fate: known, new, lost, or of another cluster."""
    findings = position_findings(mongo, [nats])
    assert len(findings) == len(expected)
    for finding, (level, said) in zip(findings, expected, strict=True):
        assert finding.level == level
        assert said in finding.found


@pytest.mark.parametrize(
    ("mongo", "nats"),
    [
        (SourceUnavailableError("down"), GOOD_NATS),
        (GOOD_MONGO, SinkUnavailableError("down")),
        (replace(GOOD_MONGO, checkpoints=CheckpointUnavailableError("down")), GOOD_NATS),
        (GOOD_MONGO, replace(GOOD_NATS, account=SinkUnavailableError("down"))),
        (replace(GOOD_MONGO, cluster_time=None), GOOD_NATS),
    ],
)
def test_half_the_facts_are_no_ground_to_judge_on(
    mongo: MongoFacts | SourceError, nats: NatsFacts | SinkError
) -> None:
    """A position is the later of two, so nothing is said when one of them isn't known."""
    facts = nats if isinstance(nats, SinkError) else [nats]
    assert position_findings(mongo, facts) == []


def test_a_stream_that_does_not_exist_has_no_markers() -> None:
    """Before the first start, the token documents alone count."""
    nats = replace(GOOD_NATS, account=replace(GOOD_ACCOUNT, stream=None))
    (finding,) = position_findings(_stored(users=60, movies=60), [nats])
    assert finding.level == "ok"
