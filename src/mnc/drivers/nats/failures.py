"""What nats-py's errors mean, in this project's errors and in words for people. Pure.

nats-py's own texts are not repeated, for they can hold an address; what a server says is.
"""

from __future__ import annotations

import ssl

import nats.errors

from mnc.errors import (
    ConfigError,
    OutcomeUnknownError,
    PayloadTooLargeError,
    SinkError,
    SinkUnavailableError,
)

__all__ = ["describe", "is_vague", "translated"]

_EMPTY = "empty response"
"""How nats-py names a connection that the server closed before its greeting."""

_WORDS_MAX_CHARS = 120

_WRONG_NAME = {62, 64}
"""X509_V_ERR_HOSTNAME_MISMATCH and X509_V_ERR_IP_ADDRESS_MISMATCH of OpenSSL."""


def describe(
    error: Exception,
    *,
    greeting: bool = False,
    login: str | None = None,
    handshake_first: bool = False,
) -> str:
    """Say what is wrong with a connection, and which setting to look at.

    `greeting` tells that the server was reached and nobody is logged in yet; `login` is the setting
    that says how to.
    """
    words = _said(error)
    match error:
        case ConfigError():
            text = str(error)
        case nats.errors.SecureConnWantedError():
            text = "the server has no TLS, which the settings ask for: check its configuration"
        case nats.errors.AuthorizationError():
            text = _refused("authorization violation", login)
        case nats.errors.UnexpectedEOF() | ConnectionResetError() | BrokenPipeError():
            text = "the server closed the connection"
        case ssl.SSLError():
            text = _tls_problem(error, handshake_first=handshake_first)
        case TimeoutError():
            text = _no_greeting(handshake_first=handshake_first) if greeting else "timed out"
        case ConnectionRefusedError():
            text = "connection refused"
        case OSError():
            text = (error.strerror or "can't connect").lower()
        case nats.errors.Error() if words.startswith(_EMPTY):
            text = _no_greeting(handshake_first=handshake_first)
        case nats.errors.Error() if words:
            text = _refused(words, login) if "auth" in words else words
        case _:
            text = type(error).__name__
    return text


def is_vague(error: Exception) -> bool:
    """Say whether an error tells less than one before it in the same outage."""
    return isinstance(error, ConnectionResetError | BrokenPipeError | nats.errors.UnexpectedEOF)


def translated(error: Exception) -> SinkError:
    """Return the error that a failed call of nats-py means."""
    match error:
        case nats.errors.NoRespondersError():
            return SinkUnavailableError(
                "no JetStream answers: it is not enabled, has no leader now, or has no such stream",
                remedy="if it stays so, start nats-server with JetStream (--jetstream)",
            )
        case nats.errors.MaxPayloadError():
            return PayloadTooLargeError(
                "a message is over the broker's max_payload",
                remedy="raise max_payload in nats-server's configuration",
            )
        case nats.errors.TimeoutError():
            return OutcomeUnknownError("no answer from JetStream in time")
        case (
            nats.errors.OutboundBufferLimitError()
            | nats.errors.ConnectionClosedError()
            | nats.errors.ConnectionDrainingError()
        ):
            return SinkUnavailableError("the connection to NATS is down")
        case _:
            return OutcomeUnknownError(f"NATS failed: {describe(error)}")


def _said(error: Exception) -> str:
    """Return what a server said, in lower case, or nothing when the words are not a server's."""
    if type(error) is not nats.errors.Error:
        return ""
    words = str(error).removeprefix("nats: ").strip("'").lower()
    return words.partition('"')[0][:_WORDS_MAX_CHARS]  # a subject stands in quotes


def _refused(words: str, login: str | None) -> str:
    if login:
        return f"{words}: check {login}"
    return (
        f"{words}: the server wants a login: set NATS_CREDS_FILE, NATS_NKEY_SEED, NATS_USER or "
        "NATS_TOKEN"
    )


def _no_greeting(*, handshake_first: bool) -> str:
    hint = (
        "unset NATS_TLS_HANDSHAKE_FIRST unless it has handshake_first"
        if handshake_first
        else "set NATS_TLS_HANDSHAKE_FIRST=true if it has handshake_first"
    )
    return f"no greeting from the server: {hint}"


def _tls_problem(error: ssl.SSLError, *, handshake_first: bool) -> str:
    reason = error.reason or ""
    spoken = reason.rpartition("ALERT_")[2].replace("_", " ").lower()
    if isinstance(error, ssl.SSLCertVerificationError):
        if error.verify_code in _WRONG_NAME:
            return "the server's certificate is for another name: check NATS_TLS_HOSTNAME"
        why = error.verify_message
        return f"the server's certificate is not trusted ({why}): check NATS_TLS_CA_FILE"
    if "ALERT_CERTIFICATE_REQUIRED" in reason:
        return "the server wants a client certificate: set NATS_TLS_CERT_FILE"
    if "ALERT" in reason and ("CERTIFICATE" in reason or "UNKNOWN_CA" in reason):
        return f"the server refuses the client certificate ({spoken}): check NATS_TLS_CERT_FILE"
    hint = ": unset NATS_TLS_HANDSHAKE_FIRST unless it has handshake_first"
    return f"the TLS handshake failed ({spoken}){hint if handshake_first else ''}"
