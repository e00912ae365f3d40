"""What JetStream's answers mean."""

from __future__ import annotations

import pytest

from mnc.drivers.nats.replies import error_code, has_leader, parse_reply, raise_error
from mnc.errors import (
    DuplicateInBatchError,
    FenceLostError,
    OutcomeUnknownError,
    PayloadTooLargeError,
    SinkError,
    SinkRefusedError,
    SinkUnavailableError,
    StreamFullError,
    StreamMissingError,
)


def _reply(code: int) -> dict[str, object]:
    return {"error": {"code": 400, "err_code": code, "description": "as the server says"}}


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        (10071, FenceLostError),
        (10070, OutcomeUnknownError),
        (10201, DuplicateInBatchError),
        (10158, DuplicateInBatchError),
        (10077, StreamFullError),
        (10023, StreamFullError),
        (10047, StreamFullError),
        (10076, SinkRefusedError),
        (10002, StreamFullError),
        (10054, PayloadTooLargeError),
        (10059, StreamMissingError),
        (10164, SinkUnavailableError),
        (10176, SinkUnavailableError),
        (10199, SinkUnavailableError),
        (10210, SinkUnavailableError),
        (10211, SinkUnavailableError),
        (10008, SinkUnavailableError),
        (10009, SinkUnavailableError),
        (10074, SinkRefusedError),
        (10174, SinkRefusedError),
        (10177, SinkRefusedError),
        (99999, SinkRefusedError),
    ],
)
def test_each_code_has_its_error(code: int, kind: type[SinkError]) -> None:
    """An error answer is raised as what heals it, with the stream, the code and the text."""
    with pytest.raises(SinkError) as caught:
        raise_error(_reply(code), stream="cs")
    assert type(caught.value) is kind
    assert caught.value.code == code
    assert caught.value.message == f"stream cs: as the server says (code {code})"


def test_what_a_person_must_heal_has_a_remedy() -> None:
    """A full stream and an event over the limit say what to do."""
    for code in (10077, 10054):
        with pytest.raises(SinkError) as caught:
            raise_error(_reply(code), stream="cs")
        assert caught.value.remedy


def test_an_answer_without_an_error_passes() -> None:
    """A good answer raises nothing and has no code."""
    raise_error({"stream": "cs", "seq": 5}, stream="cs")
    assert error_code({"stream": "cs", "seq": 5}) is None


@pytest.mark.parametrize(
    ("error", "code"),
    [
        ({"err_code": 10071, "code": 400}, 10071),
        ({"code": 503}, 503),
        ({}, 0),
        ({"description": "no code at all"}, 0),
    ],
)
def test_an_error_has_a_code_whatever_it_lacks(error: dict[str, object], code: int) -> None:
    """The special code counts, then the general one; an error without any is one still."""
    assert error_code({"error": error}) == code
    with pytest.raises(SinkError):
        raise_error({"error": error}, stream="cs")


@pytest.mark.parametrize("data", [b"", b"+ACK", b"{", b"[]", b"1", b"null", b'"text"', b"\xff"])
def test_an_answer_that_is_no_object_leaves_the_outcome_open(data: bytes) -> None:
    """Whatever comes back in place of an answer, the batch may be stored."""
    with pytest.raises(OutcomeUnknownError):
        parse_reply(data)


def test_an_answer_is_json() -> None:
    """A good answer is decoded."""
    assert parse_reply(b'{"stream":"cs","seq":5}') == {"stream": "cs", "seq": 5}


@pytest.mark.parametrize(
    ("info", "leads"),
    [
        ({}, True),
        ({"cluster": {"name": "mnc", "leader": "n1"}}, True),
        ({"cluster": {"name": "mnc", "leader": ""}}, False),
        ({"cluster": {"name": "mnc", "replicas": [{"name": "n1"}]}}, False),
    ],
)
def test_a_stream_in_a_cluster_needs_a_leader(info: dict[str, object], leads: bool) -> None:
    """JetStream answers for a stream without a majority as if nothing were wrong, but for this."""
    assert has_leader(info) is leads
