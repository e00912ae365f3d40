"""What pymongo's errors mean, in this project's errors. Pure.

The codes are MongoDB's error codes. What matters is who can heal it: time, a person, or nobody
without losing events. Taking a passing failure for a lasting one costs a wait of half a minute;
taking a lost position for a passing failure costs a hot loop, and the events all the same. The
phase matters for one code: a cursor that has fallen behind (136, CappedPositionLost) says nothing
of the position, so it is opened again, and the opening says whether the position is lost (286).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import pymongo.errors

from mnc.errors import (
    CheckpointError,
    CheckpointRefusedError,
    CheckpointUnavailableError,
    EventTooLargeError,
    ForeignPositionError,
    ImageMissingError,
    PipelineRefusedError,
    PositionLostError,
    SourceError,
    SourceRefusedError,
    SourceUnavailableError,
)

__all__ = [
    "IMAGE_MISSING",
    "NOT_INITIATED",
    "NO_REPLICA_SET",
    "TOO_LARGE",
    "Reason",
    "checkpoint_error",
    "pipeline_error",
    "source_error",
]


class Reason(NamedTuple):
    """What is found, and what a person can do about it."""

    message: str
    remedy: str = ""


_HISTORY_LOST = {286}
"""ChangeStreamHistoryLost: the oplog no longer reaches back to the position."""

_DEAD_TOKEN = {280, 260}
"""ChangeStreamFatalError, InvalidResumeToken: MongoDB can't go on after this token any more."""

_FOREIGN_POSITION = {9}
"""FailedToParse: it was no position of a MongoDB like this one."""

TOO_LARGE = {10334}
"""BSONObjectTooLarge: the event with what the server adds is over 16 MiB."""

IMAGE_MISSING = {47}
"""NoMatchingDocument: an image is required, and the event has none."""

_PIPELINE = {
    2,  # BadValue
    9,  # FailedToParse
    14,  # TypeMismatch
    15,  # Overflow
    20,  # IllegalOperation
    52,  # DollarPrefixedFieldName
    56,  # EmptyFieldName
    139,  # JSInterpreterFailure
    146,  # ExceededMemoryLimit
    168,  # InvalidPipelineOperator
    241,  # ConversionFailure
}
"""What a stage or an expression is refused with, or fails with, if that has a name."""

_NAMELESS = "Location"
"""What the name of an error begins with that has none: checks of single stages and expressions."""

_CAUSE = " :: caused by :: "
_CAUSE_LIMIT_CHARS = 300

_UNAUTHORIZED = {13, 8000}
"""Unauthorized, and Atlas's own error."""

_LOGIN_REFUSED = {18}
"""AuthenticationFailed."""

_USER_UNKNOWN = {11}
"""UserNotFound, which is said of certificates alone."""

_NO_REPLICA_SET = {40573}
"""Change streams exist only on replica sets and sharded clusters."""

NO_REPLICA_SET = Reason(
    "MongoDB runs as a standalone server, which has no change streams",
    "start mongod with --replSet and call rs.initiate(); mnc goes on by itself then",
)
NOT_INITIATED = Reason(
    "MongoDB's replica set is not initiated",
    "call rs.initiate() in mongosh; mnc goes on by itself then",
)
_WRONG_LOGIN = Reason(
    "MongoDB refuses the user or the password in MONGO_URI",
    "correct them, or authSource, the database that knows the user (often admin)",
)
_UNKNOWN_CERTIFICATE = Reason(
    "MongoDB has no user of the name in the client certificate",
    "create one in the database $external, named after the certificate's subject",
)
_NO_LOGIN = Reason(
    "MongoDB wants a login, and MONGO_URI has none",
    "put user:password@ before the host, and authSource if another database knows the user",
)
_NO_PRIMARY = Reason(
    "MongoDB has no primary now",
    "if it stays so, see rs.status() for the members that are down: a majority has to be up",
)
_UNKNOWN_HOST = Reason(
    "MongoDB can't be reached: its host's name is not known", "correct its address in MONGO_URI"
)

_UNKNOWN_SRV = Reason(
    "the name in MONGO_URI has no SRV record in DNS",
    "correct it; a host that has a port is named with mongodb:// instead of mongodb+srv://",
)
_NO_DNS = Reason(
    "DNS doesn't answer, so the hosts of MONGO_URI can't be looked up",
    "check this machine's name servers",
)
_NO_ANSWER = Reason(
    "MongoDB can't be reached: no answer in time",
    "check its address in MONGO_URI, and firewalls and IP access lists on the way",
)

_NO_SERVER = Reason(
    "no MongoDB server that can be used was found", "check the address in MONGO_URI"
)

_WHY_NO_SERVER: Mapping[str, Reason] = {
    "DNS query name does not exist": _UNKNOWN_SRV,
    "DNS response does not contain": _UNKNOWN_SRV,
    "resolution lifetime": _NO_DNS,
    "nameservers": _NO_DNS,
    "RSGhost": NOT_INITIATED,
    "available for replica set name": Reason(
        "the MongoDB server belongs to another replica set than MONGO_URI says, or to none",
        "correct replicaSet in MONGO_URI; a standalone server needs --replSet and rs.initiate()",
    ),
    "internal hostnames": Reason(
        "the members of MongoDB's replica set can't be reached by their own names",
        "make those names known here, or, for a set of one, add directConnection=true to MONGO_URI",
    ),
    "match selector": _NO_PRIMARY,
    "No primary": _NO_PRIMARY,
    "wire version": Reason("MongoDB is too old for mnc's client", "run MongoDB 6.0 or newer"),
    "certificate is not valid for": Reason(
        "MongoDB's TLS certificate is for another host",
        "name the server in MONGO_URI as its certificate does",
    ),
    "certificate has expired": Reason(
        "MongoDB's TLS certificate has expired", "renew it on the server"
    ),
    "certificate verify failed": Reason(
        "MongoDB's TLS certificate can't be verified",
        "name the file of its authority in MONGO_URI, with tlsCAFile",
    ),
    "handshake operation timed out": _NO_ANSWER,
    "SSL handshake failed": Reason(
        "the TLS handshake with MongoDB fails", "remove tls=true from MONGO_URI if it has no TLS"
    ),
    "connection closed": Reason(
        "MongoDB closes the connection at once",
        "add tls=true to MONGO_URI if it wants TLS; if that is there, it wants a certificate "
        "(tlsCertificateKeyFile), or doesn't trust the one that it was shown",
    ),
    "Connection refused": Reason(
        "MongoDB can't be reached: connection refused",
        "start it, or correct its address in MONGO_URI",
    ),
    "[Errno -": _UNKNOWN_HOST,  # getaddrinfo's codes, on Linux
    "nodename nor servname": _UNKNOWN_HOST,  # its text on macOS
    "timed out": _NO_ANSWER,
}
"""What pymongo's words mean when it finds no server; the first that are there count."""


_NOT_WRITABLE: Mapping[int, Reason] = {
    121: Reason(  # DocumentValidationFailure
        "a validator refuses the token documents (code 121)",
        "take it from the collection that MONGO_RESUME_TOKENS_COLLECTION names",
    ),
    166: Reason(  # CommandNotSupportedOnView
        "the token documents can't be kept in a view (code 166)",
        "let MONGO_RESUME_TOKENS_COLLECTION name a collection",
    ),
}
"""Codes by which the token collection, not the user, stands in the way."""


def source_error(error: pymongo.errors.PyMongoError) -> SourceError:
    """Return what an error means that reading a change stream raised."""
    code = error.code if isinstance(error, pymongo.errors.OperationFailure) else None
    if code in _HISTORY_LOST or code in _DEAD_TOKEN:
        return PositionLostError(
            f"the position to resume from is no longer in MongoDB's oplog (code {code})",
            remedy=(
                "events in between can't be read any more: enlarge the oplog, and set "
                "MONGO_ON_HISTORY_LOST to snapshot, or to now to go on without them"
            ),
            code=code,
        )
    if code in _FOREIGN_POSITION:
        return ForeignPositionError(
            f"the position to resume from is none of this MongoDB's (code {code})",
            remedy="check that MONGO_URI names the cluster that the stream was filled from",
            code=code,
        )
    if code in TOO_LARGE:
        return EventTooLargeError(
            "a change event is over MongoDB's limit of 16 MiB by its document's _id alone",
            remedy="nothing was skipped; use smaller _ids, and go on from now to pass this one",
            code=code,
        )
    if code in IMAGE_MISSING:
        return _image_missing(error, code)
    refusal = _refused_login(error, code)
    if refusal is None and code in _UNAUTHORIZED:
        refusal = Reason(
            f"the user in MONGO_URI may not open a change stream on the database (code {code})",
            "grant the role read, or readWrite, on the database",
        )
    if code in _NO_REPLICA_SET:
        refusal = NO_REPLICA_SET
    if refusal is not None:
        return SourceRefusedError(refusal.message, remedy=refusal.remedy, code=code)
    reason = _describe(error, code)
    return SourceUnavailableError(reason.message, remedy=reason.remedy, code=code)


def pipeline_error(
    error: pymongo.errors.PyMongoError, *, opening: bool
) -> PipelineRefusedError | None:
    """Return what an error means that may be a user's pipeline's, where there is one.

    None if it is none. While a change stream is opened, no document has been looked at: only then
    the server's own words may be passed on.
    """
    if not isinstance(error, pymongo.errors.OperationFailure):
        return None
    details = error.details or {}
    name = str(details.get("codeName", ""))
    if error.code in _NO_REPLICA_SET or not (error.code in _PIPELINE or name.startswith(_NAMELESS)):
        return None
    if opening:
        words = str(details.get("errmsg", "")).rpartition(_CAUSE)[2][:_CAUSE_LIMIT_CHARS]
        return PipelineRefusedError(
            f"MongoDB refuses MONGO_PIPELINE, or a section's mongo_pipeline: {words} ({name})",
            remedy="correct it",
            code=error.code,
        )
    return PipelineRefusedError(
        f"MONGO_PIPELINE, or a section's mongo_pipeline, fails at a change event ({name}, code "
        f"{error.code})",
        remedy="nothing was skipped; let its expressions bear every document, with $ifNull or "
        "$convert's onError, or have a $match before them leave out what they can't",
        code=error.code,
    )


def _image_missing(error: pymongo.errors.PyMongoError, code: int | None) -> ImageMissingError:
    # The server's words end with the event's namespace; they may not be quoted, but say which one.
    is_before = "require a pre-image" in str(error)
    image = "pre-image" if is_before else "post-image"
    setting = "MONGO_FULL_DOCUMENT_BEFORE_CHANGE" if is_before else "MONGO_FULL_DOCUMENT"
    return ImageMissingError(
        f"a change event has no {image}, and {setting}=required wants one (code {code})",
        remedy=f"for changes to come, run db.runCommand({{collMod: <collection>, "
        f"changeStreamPreAndPostImages: {{enabled: true}}}}); to pass those that have none, "
        f"set {setting}=whenAvailable",
        code=code,
    )


def checkpoint_error(error: pymongo.errors.PyMongoError) -> CheckpointError:
    """Return what an error means that reading or writing a token document raised."""
    code = error.code if isinstance(error, pymongo.errors.OperationFailure) else None
    refusal = _refused_login(error, code)
    if refusal is None and code in _UNAUTHORIZED:
        refusal = Reason(
            f"the user in MONGO_URI may not use the token documents (code {code})",
            "grant find, insert and update on the collection that MONGO_RESUME_TOKENS_COLLECTION "
            "names; the role readWrite has them",
        )
    if code is not None and code in _NOT_WRITABLE:
        refusal = _NOT_WRITABLE[code]
    if refusal is not None:
        return CheckpointRefusedError(refusal.message, remedy=refusal.remedy, code=code)
    reason = _describe(error, code)
    return CheckpointUnavailableError(reason.message, remedy=reason.remedy, code=code)


def _refused_login(error: pymongo.errors.PyMongoError, code: int | None) -> Reason | None:
    # After a refused login pymongo takes the server for unknown for a while, and says why.
    is_unknown = isinstance(error, pymongo.errors.ServerSelectionTimeoutError)
    if code in _LOGIN_REFUSED or (is_unknown and "AuthenticationFailed" in str(error)):
        return _WRONG_LOGIN
    if code in _USER_UNKNOWN or (is_unknown and "UserNotFound" in str(error)):
        return _UNKNOWN_CERTIFICATE
    if code in _UNAUTHORIZED and "requires authentication" in str(error):
        return _NO_LOGIN
    return None


def _describe(error: pymongo.errors.PyMongoError, code: int | None) -> Reason:
    """Name an error without its text, which can quote documents and addresses."""
    match error:
        case pymongo.errors.ServerSelectionTimeoutError() | pymongo.errors.ConfigurationError():
            reasons = (reason for words, reason in _WHY_NO_SERVER.items() if words in str(error))
            return next(reasons, _NO_SERVER)
        case pymongo.errors.ExecutionTimeout() | pymongo.errors.NetworkTimeout():
            return Reason("MongoDB doesn't answer in time")
        case pymongo.errors.OperationFailure(details=dict(details)):
            return Reason(f"MongoDB answers {details.get('codeName', 'an error')} (code {code})")
        case pymongo.errors.NotPrimaryError():
            return Reason("the MongoDB server is not the primary now")
        case pymongo.errors.ConnectionFailure():
            return Reason("the connection to MongoDB was lost")
        case _:
            return Reason(f"MongoDB failed ({type(error).__name__})")
