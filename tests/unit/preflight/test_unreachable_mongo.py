"""What pymongo's words mean when it finds no server: as pymongo 4.20 writes them."""

from __future__ import annotations

import pytest
from pymongo.errors import (
    ConfigurationError,
    OperationFailure,
    PyMongoError,
    ServerSelectionTimeoutError,
)

from mnc.drivers.mongo.failures import checkpoint_error, source_error
from mnc.errors import Recovery

_TIMEOUTS = "(configured timeouts: socketTimeoutMS: 1000.0ms, connectTimeoutMS: 1000.0ms)"
_SECRET = "hunter2"  # noqa: S105 - made up, and must not be shown


def _unreachable(reason: str, topology: str = "") -> ServerSelectionTimeoutError:
    return ServerSelectionTimeoutError(
        f"{reason}, Timeout: 5.0s, Topology Description: <TopologyDescription id: {_SECRET}, "
        f"servers: [<ServerDescription ('db', 27017) {topology}>]>"
    )


@pytest.mark.parametrize(
    ("error", "found", "remedy"),
    [
        (
            _unreachable(f"db:27017: [Errno 111] Connection refused {_TIMEOUTS}"),
            "connection refused",
            "MONGO_URI",
        ),
        (
            _unreachable(f"db:27017: [Errno -2] Name or service not known {_TIMEOUTS}"),
            "name is not known",
            "MONGO_URI",
        ),
        (
            _unreachable(f"db:27017: [Errno 8] nodename nor servname provided {_TIMEOUTS}"),
            "name is not known",
            "MONGO_URI",
        ),
        (_unreachable(f"db:27017: timed out {_TIMEOUTS}"), "no answer in time", "firewalls"),
        (
            _unreachable('No servers match selector "Primary()"', "server_type: RSGhost"),
            "not initiated",
            "rs.initiate()",
        ),
        (
            _unreachable('No replica set members match selector "Primary()"'),
            "no primary",
            "rs.status()",
        ),
        (
            _unreachable('No replica set members available for replica set name "rs"'),
            "another replica set",
            "replicaSet",
        ),
        (
            _unreachable(
                "Could not reach any servers in [('mongo1', 27017)]. Replica set is configured "
                "with internal hostnames or IPs?"
            ),
            "by their own names",
            "directConnection=true",
        ),
        (
            _unreachable(f"db:27017: connection closed {_TIMEOUTS}"),
            "closes the connection",
            "tls=true",
        ),
        (
            _unreachable(
                f"SSL handshake failed: db:27017: [SSL: UNEXPECTED_EOF] EOF occurred {_TIMEOUTS}"
            ),
            "TLS handshake",
            "tls=true",
        ),
        (
            _unreachable(
                "SSL handshake failed: db:27017: [SSL: CERTIFICATE_VERIFY_FAILED] certificate "
                f"verify failed: self-signed certificate {_TIMEOUTS}"
            ),
            "certificate",
            "tlsCAFile",
        ),
        (
            _unreachable(
                "SSL handshake failed: db:27017: [SSL: CERTIFICATE_VERIFY_FAILED] certificate "
                f"verify failed: certificate has expired {_TIMEOUTS}"
            ),
            "has expired",
            "renew it",
        ),
        (
            _unreachable(
                "SSL handshake failed: db:27017: [SSL: CERTIFICATE_VERIFY_FAILED] certificate "
                f"verify failed: Hostname mismatch, certificate is not valid for 'db'. {_TIMEOUTS}"
            ),
            "for another host",
            "MONGO_URI",
        ),
        (
            _unreachable(
                f"SSL handshake failed: db:27017: The handshake operation timed out {_TIMEOUTS}"
            ),
            "no answer in time",
            "firewalls",
        ),
        (
            ConfigurationError("The DNS query name does not exist: _mongodb._tcp.db.test."),
            "no SRV record",
            "mongodb://",
        ),
        (
            ConfigurationError(
                "The resolution lifetime expired after 3.103 seconds: Server Do53:10.0.0.1@53 "
                "answered The DNS operation timed out."
            ),
            "DNS doesn't answer",
            "name servers",
        ),
        (
            ConfigurationError(
                "All nameservers failed to answer the query _mongodb._tcp.db.test. IN SRV: "
                "Server Do53:10.0.0.1@53 answered SERVFAIL"
            ),
            "DNS doesn't answer",
            "name servers",
        ),
        (
            ConfigurationError(
                "Server at db:27017 reports wire version 6, but this version of PyMongo requires "
                "at least 9 (MongoDB 4.4)."
            ),
            "too old",
            "6.0",
        ),
        (_unreachable("No servers found yet"), "no MongoDB server", ""),
    ],
    ids=lambda value: str(value)[:40] if isinstance(value, PyMongoError) else "",
)
def test_each_cause_is_told_apart(error: PyMongoError, found: str, remedy: str) -> None:
    """A person reads why no server was found and what to do, and nothing of pymongo's text."""
    for translated in (source_error(error), checkpoint_error(error)):
        assert translated.recovery is Recovery.RECONNECT
        assert found in translated.message
        assert remedy in translated.remedy
        assert _SECRET not in str(translated)


@pytest.mark.parametrize(
    ("error", "found"),
    [
        (OperationFailure("Authentication failed.", 18, {}), "refuses the user or the password"),
        (
            _unreachable(
                "Authentication failed., full error: {'ok': 0.0, 'code': 18, "
                "'codeName': 'AuthenticationFailed'}"
            ),
            "refuses the user or the password",
        ),
        (
            OperationFailure("command aggregate requires authentication", 13, {}),
            "wants a login",
        ),
    ],
)
def test_a_refused_login_waits_for_a_person(error: PyMongoError, found: str) -> None:
    """A wrong password is one however pymongo tells it, and not taken for missing privileges."""
    for translated in (source_error(error), checkpoint_error(error)):
        assert translated.recovery is Recovery.WAIT
        assert found in translated.message
        assert translated.remedy
