"""The connection to MongoDB: one pymongo client, used from threads.

pymongo blocks, so every call runs in a thread. Nothing interrupts a call that waits for the server.
Short calls have a deadline. Reading a change stream has none: looking for the next event that
passes the filter, the server may go through hours of oplog before it answers, and a time-out would
begin that anew each time, for ever. A server that is gone is noticed by the client's monitor, which
breaks the connections in use. Each kind of work has a limiter of its own, so that a stuck health
check takes no thread from a token write.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ParamSpec, TypeVar

import pymongo
import structlog
import trio
from pymongo.database import Database
from pymongo.errors import ConfigurationError, InvalidURI, PyMongoError
from pymongo.server_description import ServerDescription

from mnc.config.uris import mongo_options
from mnc.drivers.mongo.failures import source_error
from mnc.errors import ConfigError

__all__ = ["MongoConnection"]

_P = ParamSpec("_P")
_T = TypeVar("_T")

Document = dict[str, Any]

_DEFAULTS: Mapping[str, Any] = {
    # A frozen primary is noticed in about four seconds instead of half a minute.
    "heartbeatFrequencyMS": 1000,
    "connectTimeoutMS": 3000,
    "serverSelectionTimeoutMS": 5000,
}
"""Where MONGO_URI says nothing else."""


def _the_same_one(servers: Sequence[ServerDescription]) -> Sequence[ServerDescription]:
    """Choose one of several servers that can be used, the same as long as it can be.

    A cursor lives in the mongos that has opened it, and a session doesn't keep pymongo from asking
    another one for more. In a replica set the primary alone can be used.
    """
    return sorted(servers, key=lambda server: server.address)[:1]


_FIXED: Mapping[str, Any] = {
    "server_selector": _the_same_one,
    # These would end the reading of a change stream, which has no deadline.
    "timeoutMS": None,
    "socketTimeoutMS": None,
    # Connecting begins with the first call, in its thread: it looks up the names of a
    # mongodb+srv:// URI, and a DNS server that doesn't answer is waited for like any other.
    "connect": False,
}
"""Whatever MONGO_URI says."""

_HARMLESS = ("Unsupported compressor", "Wire protocol compression")
"""How pymongo's warnings begin of what it can do without. Others are of options that it doesn't
know or can't read, which it would leave out: with `tls=ture` nothing would be encrypted."""

_SHORT_CALL_S = 5.0
"""The deadline of calls that ask little of the server, the majority's acknowledgement included."""


class MongoConnection:
    """One pymongo client and the database that MONGO_URI names."""

    def __init__(self, uri: str, *, app_name: str) -> None:
        """Parse `uri`; connecting happens later, by itself.

        Raises ConfigError, without the URI, when pymongo doesn't accept it.
        """
        given = mongo_options(uri)
        options = {name: value for name, value in _DEFAULTS.items() if name.lower() not in given}
        if "appname" not in given:
            options["appName"] = app_name
        try:
            with warnings.catch_warnings(record=True) as remarks:
                warnings.simplefilter("always")
                self._client: pymongo.MongoClient[Document] = pymongo.MongoClient(
                    uri, **options, **_FIXED
                )
            _judge(remarks)
            self.database: Database[Document] = self._client.get_default_database()
        except (ConfigurationError, InvalidURI, ValueError) as error:
            raise ConfigError("MONGO_URI", f"MongoDB's client refuses it ({error})") from error
        except OSError as error:  # TLS's errors are such, too
            raise ConfigError(
                "MONGO_URI",
                f"a file that it names can't be used ({error.strerror})",
                remedy="tlsCAFile is a file of certificates, tlsCertificateKeyFile one of a "
                "certificate and its private key, all in PEM form",
            ) from error
        self._work = trio.CapacityLimiter(8)
        self._checks = trio.CapacityLimiter(2)

    @property
    def client(self) -> pymongo.MongoClient[Document]:
        """The pymongo client, for sessions."""
        return self._client

    async def run(
        self,
        function: Callable[_P, _T],
        *args: _P.args,
        **kwargs: _P.kwargs,
    ) -> _T:
        """Run a short blocking function in a thread; at most eight run at once.

        Its calls to the server, finding one included, have five seconds altogether. Raises
        pymongo's errors.

        Cancellation: returns at once; what was asked for may still happen.
        """

        def bounded() -> _T:
            with pymongo.timeout(_SHORT_CALL_S):
                return function(*args, **kwargs)

        return await trio.to_thread.run_sync(bounded, limiter=self._work, abandon_on_cancel=True)

    async def check(self) -> None:
        """Ask the primary for a sign of life. Raises SourceError when none comes.

        Cancellation: returns at once; the thread ends with the question's time-out.
        """
        try:
            await trio.to_thread.run_sync(
                lambda: self._client.admin.command("ping"),
                limiter=self._checks,
                abandon_on_cancel=True,
            )
        except PyMongoError as error:
            raise source_error(error) from error

    async def close(self) -> None:
        """Close the client; last, when no call is running any more."""
        await trio.to_thread.run_sync(self._client.close)


def _judge(remarks: list[warnings.WarningMessage]) -> None:
    """Log what is left out of a URI. Raises ValueError for what may not be."""
    for remark in remarks:
        text = str(remark.message)
        if issubclass(remark.category, UserWarning) and not text.startswith(_HARMLESS):
            raise ValueError(text)
        structlog.get_logger().warning("mongo.option_ignored", reason=text)
