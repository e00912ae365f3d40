"""What becomes of saves that go together when some of them fail."""

from __future__ import annotations

import pytest
from pymongo.errors import BulkWriteError, OperationFailure

from mnc.drivers.mongo.checkpoints import _reasons

_UNCONFIRMED = {"code": 64, "errmsg": "waiting for replication timed out"}


def _failure(index: int, code: int) -> dict[str, object]:
    return {"index": index, "code": code, "errmsg": f"error {code}"}


def test_only_what_is_as_new_already_is_no_failure() -> None:
    """A write that met a later checkpoint is done; each of the others has its own error."""
    error = BulkWriteError({"writeErrors": [_failure(0, 11000), _failure(2, 121)]})
    first, second, third = _reasons(error, count=3)
    assert (first, second) == (None, None)
    assert isinstance(third, OperationFailure)
    assert third.code == 121


@pytest.mark.parametrize("failures", [[], [_failure(1, 11000)]])
def test_what_no_majority_has_confirmed_is_not_saved(failures: list[dict[str, object]]) -> None:
    """Writes that the majority may lose again have failed, every one of them."""
    error = BulkWriteError({"writeErrors": failures, "writeConcernErrors": [_UNCONFIRMED]})
    assert _reasons(error, count=3) == [error, error, error]
