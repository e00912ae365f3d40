"""What pymongo's errors mean, in this project's errors. Pure.

The codes are MongoDB's error codes. What matters is who can heal it: time, a person, or nobody
without losing events. Taking a passing failure for a lasting one costs a wait of half a minute;
taking a lost position for a passing failure costs a hot loop, and the events all the same.
"""

from __future__ import annotations

import pymongo.errors

from mnc.errors import (
    CheckpointError,
    CheckpointRefusedError,
    CheckpointUnavailableError,
    EventTooLargeError,
    PositionLostError,
    SourceError,
    SourceRefusedError,
    SourceUnavailableError,
)

__all__ = ["checkpoint_error", "source_error"]

_HISTORY_LOST = {286}
"""ChangeStreamHistoryLost: the oplog no longer reaches back to the position."""

_FATAL_POSITION = {280, 260, 9}
"""ChangeStreamFatalError, InvalidResumeToken, FailedToParse: not a position of this cluster."""

_TOO_LARGE = {10334}
"""BSONObjectTooLarge: the event with what the server adds is over 16 MiB."""

_UNAUTHORIZED = {13, 18, 8000}
"""Unauthorized, AuthenticationFailed, and Atlas's own error for both."""

_NO_REPLICA_SET = {40573}
"""Change streams exist only on replica sets and sharded clusters."""


def source_error(error: pymongo.errors.PyMongoError) -> SourceError:
    """Return what an error means that reading a change stream raised."""
    code = error.code if isinstance(error, pymongo.errors.OperationFailure) else None
    if code in _HISTORY_LOST or code in _FATAL_POSITION:
        return PositionLostError(
            f"the position to resume from is no longer in MongoDB's oplog (code {code})",
            remedy=(
                "events in between can't be read any more: remove the collection's document from "
                "MONGO_RESUME_TOKENS_COLLECTION and its position marker from the stream to go on "
                "from now, and enlarge the oplog"
            ),
            code=code,
        )
    if code in _TOO_LARGE:
        return EventTooLargeError(
            "a change event is over MongoDB's limit of 16 MiB",
            remedy="nothing was skipped; make the document smaller",
            code=code,
        )
    if code in _UNAUTHORIZED:
        return SourceRefusedError(
            f"MongoDB refuses access (code {code})",
            remedy="check the user in MONGO_URI; it needs the read role on the database",
            code=code,
        )
    if code in _NO_REPLICA_SET:
        return SourceRefusedError(
            "MongoDB runs as a standalone server, which has no change streams",
            remedy="start mongod with --replSet and call rs.initiate(); mnc goes on by itself then",
            code=code,
        )
    return SourceUnavailableError(_describe(error, code), code=code)


def checkpoint_error(error: pymongo.errors.PyMongoError) -> CheckpointError:
    """Return what an error means that reading or writing a token document raised."""
    code = error.code if isinstance(error, pymongo.errors.OperationFailure) else None
    if code in _UNAUTHORIZED:
        return CheckpointRefusedError(
            f"MongoDB refuses access to the token documents (code {code})",
            remedy="give the user in MONGO_URI find, insert and update on the collection named by "
            "MONGO_RESUME_TOKENS_COLLECTION (the readWrite role has them)",
            code=code,
        )
    return CheckpointUnavailableError(_describe(error, code), code=code)


def _describe(error: pymongo.errors.PyMongoError, code: int | None) -> str:
    """Name an error without its text, which can quote documents and addresses."""
    match error:
        case pymongo.errors.ServerSelectionTimeoutError():
            return "no MongoDB server that can be used was found (none is up, or no primary)"
        case pymongo.errors.OperationFailure(details=dict(details)):
            return f"MongoDB answers {details.get('codeName', 'with an error')} (code {code})"
        case pymongo.errors.ConnectionFailure():
            return f"the connection to MongoDB failed ({type(error).__name__})"
        case _:
            return f"MongoDB failed ({type(error).__name__})"
