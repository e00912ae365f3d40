"""What pymongo's errors mean."""

from __future__ import annotations

import pytest
from pymongo.errors import (
    AutoReconnect,
    ConnectionFailure,
    ExecutionTimeout,
    NetworkTimeout,
    NotPrimaryError,
    OperationFailure,
    PyMongoError,
    ServerSelectionTimeoutError,
    WriteConcernError,
    WTimeoutError,
)

from mnc.drivers.mongo.failures import checkpoint_error, pipeline_error, source_error
from mnc.errors import (
    CheckpointRefusedError,
    CheckpointUnavailableError,
    EventTooLargeError,
    ForeignPositionError,
    ImageMissingError,
    MncError,
    PipelineRefusedError,
    PositionLostError,
    Recovery,
    SourceRefusedError,
    SourceUnavailableError,
)

_SECRET = "mongodb://user:secret@host:27017"  # noqa: S105 - made up, and must not be shown
_UNAUTHORIZED = [11, 13, 18, 8000]
_PASSING = [
    (6, "HostUnreachable"),
    (11601, "Interrupted"),
    (43, "CursorNotFound"),
    (136, "CappedPositionLost"),
    (189, "PrimarySteppedDown"),
    (237, "CursorKilled"),
    (11600, "InterruptedAtShutdown"),
    (14031, "OutOfDiskSpace"),
]
_CONNECTION_ERRORS = [
    AutoReconnect(_SECRET),
    ConnectionFailure(_SECRET),
    NetworkTimeout(_SECRET),
    NotPrimaryError(_SECRET),
    ServerSelectionTimeoutError(_SECRET),
    ExecutionTimeout(_SECRET, 50),
    PyMongoError(_SECRET),
]


def _failure(code: int, name: str = "SomeName") -> OperationFailure:
    return OperationFailure(_SECRET, code, {"codeName": name, "errmsg": _SECRET})


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        (286, PositionLostError),
        (280, PositionLostError),
        (260, PositionLostError),
        (9, ForeignPositionError),
        (10334, EventTooLargeError),
        (47, ImageMissingError),
        *[(code, SourceRefusedError) for code in (*_UNAUTHORIZED, 40573)],
        *[(code, SourceUnavailableError) for code, _ in _PASSING],
    ],
)
def test_each_code_of_capture_has_its_error(code: int, kind: type[MncError]) -> None:
    """A code that reading a change stream met is raised as what heals it, and named."""
    error = source_error(_failure(code))
    assert type(error) is kind
    assert error.code == code


@pytest.mark.parametrize("code", [286, 280, 260, 9, 10334, 47, *_UNAUTHORIZED, 40573])
def test_what_time_does_not_heal_has_a_remedy(code: int) -> None:
    """An error that waits for a person tells the person what to do."""
    error = source_error(_failure(code))
    assert error.recovery in {Recovery.WAIT, Recovery.STOP}
    assert error.remedy


@pytest.mark.parametrize("code", [*_UNAUTHORIZED, 121, 166])
def test_a_refused_checkpoint_waits_for_a_person(code: int) -> None:
    """What keeps token documents from being written is told apart from an outage."""
    error = checkpoint_error(_failure(code))
    assert type(error) is CheckpointRefusedError
    assert error.code == code
    assert error.remedy


@pytest.mark.parametrize(("code", "name"), _PASSING)
def test_what_passes_is_named_by_its_code(code: int, name: str) -> None:
    """A passing failure says the server's name for it."""
    for error in (source_error(_failure(code, name)), checkpoint_error(_failure(code, name))):
        assert type(error) in {SourceUnavailableError, CheckpointUnavailableError}
        assert error.recovery is Recovery.RECONNECT
        assert name in error.message


@pytest.mark.parametrize("error", _CONNECTION_ERRORS, ids=lambda error: type(error).__name__)
def test_a_broken_connection_is_an_outage(error: PyMongoError) -> None:
    """Whatever breaks between here and the server heals by itself."""
    assert type(source_error(error)) is SourceUnavailableError
    assert type(checkpoint_error(error)) is CheckpointUnavailableError


@pytest.mark.parametrize(
    "error",
    [WTimeoutError(_SECRET, 64, {"errmsg": _SECRET}), WriteConcernError(_SECRET, 91, None)],
    ids=lambda error: type(error).__name__,
)
def test_a_majority_that_does_not_answer_is_an_outage(error: PyMongoError) -> None:
    """A write that a majority didn't confirm in time is tried again."""
    assert type(checkpoint_error(error)) is CheckpointUnavailableError


@pytest.mark.parametrize(
    "error",
    [*_CONNECTION_ERRORS, *[_failure(code) for code in (9, 13, 43, 286, 10334, 40573)]],
    ids=lambda error: f"{type(error).__name__}{getattr(error, 'code', '')}",
)
def test_no_error_quotes_the_servers_text(error: PyMongoError) -> None:
    """Pymongo's texts hold addresses, documents and credentials: none of them is passed on."""
    for translated in (source_error(error), checkpoint_error(error)):
        assert "secret" not in str(translated)
        assert "host" not in str(translated).lower()


@pytest.mark.parametrize(
    ("code", "name"),
    [
        (2, "BadValue"),
        (9, "FailedToParse"),
        (14, "TypeMismatch"),
        (168, "InvalidPipelineOperator"),
        (241, "ConversionFailure"),
        (17124, "Location17124"),
    ],
)
def test_a_pipelines_errors_are_told_in_the_servers_words_only_at_the_opening(
    code: int, name: str
) -> None:
    """They name the setting and wait for a person; later words may quote documents."""
    words = "Invalid $set :: caused by :: unknown operator"
    error = OperationFailure(_SECRET, code, {"codeName": name, "errmsg": words})
    refused = pipeline_error(error, opening=True)
    failed = pipeline_error(error, opening=False)
    for found in (refused, failed):
        assert type(found) is PipelineRefusedError
        assert found.recovery is Recovery.WAIT
        assert found.code == code
        assert "MONGO_PIPELINE" in found.message
        assert name in found.message
        assert found.remedy
        assert "secret" not in str(found)
        assert "$set" not in str(found)
    assert ("unknown operator" in str(refused), "unknown operator" in str(failed)) == (True, False)


@pytest.mark.parametrize(
    "error",
    [
        *_CONNECTION_ERRORS,
        *[_failure(code, name) for code, name in _PASSING],
        *[_failure(code) for code in (286, 280, 260, 10334, 47, *_UNAUTHORIZED)],
        _failure(40573, "Location40573"),
    ],
    ids=lambda error: f"{type(error).__name__}{getattr(error, 'code', '')}",
)
def test_what_is_none_of_a_pipelines_is_not_taken_for_it(error: PyMongoError) -> None:
    """An outage, a lost position and a missing right stay what they are beside a pipeline."""
    assert pipeline_error(error, opening=True) is None
    assert pipeline_error(error, opening=False) is None
