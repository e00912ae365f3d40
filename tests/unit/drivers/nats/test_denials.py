"""What the server denied is told to who published it, without a document's id."""

from __future__ import annotations

import nats.errors
import pytest

from mnc.drivers.nats.denials import Denials, denied_place


def _denied(action: str, subject: str) -> nats.errors.Error:
    return nats.errors.Error(f'nats: permissions violation for {action} to "{subject}"'.lower())


@pytest.mark.parametrize(
    ("subject", "shown"),
    [
        ("cs.Users.insert.s-Id", "cs.Users.insert.>"),
        ("cs_position.users", "cs_position.users"),
        ("$O.cs_payloads.C.0A-1b", "$O.cs_payloads.C.>"),
        ("$JS.API.STREAM.INFO.cs", "$JS.API.STREAM.INFO.>"),
        ("$JS.API.STREAM.MSG.GET.cs", "$JS.API.STREAM.MSG.>"),
    ],
)
def test_a_denied_subject_explains_a_silence_once(subject: str, shown: str) -> None:
    """Who published there learns it, once, in the subject's own letters and without its end."""
    denials = Denials()
    place = denied_place(_denied("publish", subject))
    assert place == shown.lower()
    assert denials.add(place, now_s=0.0)
    assert not denials.add(place, now_s=0.0)
    assert denials.take(["cs.movies.insert.1"]) is None
    refusal = denials.take(["cs.movies.insert.1", subject])
    assert refusal is not None
    assert refusal.message == f"NATS denies publishing to {shown}"
    assert "s-Id" not in str(refusal)
    assert denials.take([subject]) is None


def test_last_denial_counts() -> None:
    """It is known when a subject was denied last, whatever its end and its letters' case."""
    denials = Denials()
    place = denied_place(_denied("subscription", "mnc.cluster.Shop.hello"))
    assert place is not None
    for now_s in (1.0, 2.0):
        denials.add(place, now_s=now_s)
    assert denials.last_at_s("mnc.cluster.Shop.node.a") == 2.0
    assert denials.last_at_s("mnc.cluster.other.hello") is None


def test_denied_answers_explain_every_silence() -> None:
    """Without a subscription for answers no request can succeed on the connection."""
    denials = Denials()
    place = denied_place(_denied("subscription", "_INBOX.abc.*"))
    assert place is not None
    assert denials.add(place, now_s=0.0)
    assert denials.includes_answers
    for _ in range(2):
        refusal = denials.take(["cs_position.users"])
        assert refusal is not None
        assert "_INBOX" in refusal.message


@pytest.mark.parametrize(
    "error",
    [
        nats.errors.Error("nats: 'authorization violation'"),
        nats.errors.AuthorizationError(),
        OSError("nats: permissions violation for"),
    ],
)
def test_other_errors_are_no_denials(error: Exception) -> None:
    """Only what a server says of permissions is a denial."""
    assert denied_place(error) is None


def test_a_denial_of_many_documents_takes_no_more_room() -> None:
    """However many documents are denied, they are one place."""
    places = {denied_place(_denied("publish", f"cs.users.insert.{n}")) for n in range(1000)}
    assert places == {"cs.users.insert.>"}
