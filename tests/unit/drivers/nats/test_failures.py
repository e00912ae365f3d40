"""Why there is no connection is said in words that name a setting and quote nothing."""

from __future__ import annotations

import nats.errors
import pytest

from mnc.drivers.nats.failures import describe, translated
from mnc.errors import ConfigError, OutcomeUnknownError, PayloadTooLargeError, SinkUnavailableError


@pytest.mark.parametrize(
    ("error", "described"),
    [
        (ConfigError("NATS_CREDS_FILE", "is gone"), "NATS_CREDS_FILE: is gone"),
        (nats.errors.AuthorizationError(), "authorization violation: check NATS_TOKEN"),
        (nats.errors.Error("nats: 'Authorization Violation'"), "authorization violation: check "),
        (nats.errors.Error("nats: user authentication expired"), "expired: check NATS_TOKEN"),
        (nats.errors.Error("nats: 'maximum connections exceeded'"), "maximum connections exceeded"),
        (nats.errors.Error('nats: permissions violation for publish to "4222"'), "permissions"),
        (nats.errors.UnexpectedEOF(), "the server closed the connection"),
        (ConnectionResetError(104, "Connection reset by peer"), "the server closed the connection"),
        (ConnectionRefusedError(111, "Connect call failed ('h', 1)"), "connection refused"),
        (OSError("Multiple exceptions: [Errno 111] ('::1', 4222)"), "can't connect"),
        (OSError(-2, "Name or service not known"), "name or service not known"),
        (TimeoutError(), "timed out"),
    ],
)
def test_an_error_is_named_without_what_it_quotes(error: Exception, described: str) -> None:
    """Neither addresses nor the classes of a library stand in what a person reads."""
    text = describe(error, login="NATS_TOKEN")
    assert described in text
    assert "4222" not in text


def test_a_login_that_is_missing_is_asked_for() -> None:
    """Without a login the words of a refusal say what can be set."""
    text = describe(nats.errors.AuthorizationError())
    assert "set NATS_CREDS_FILE" in text


@pytest.mark.parametrize("error", [TimeoutError(), nats.errors.Error("nats: empty response from")])
def test_a_silent_server_may_want_the_handshake_first(error: Exception) -> None:
    """A server that accepts a connection and says nothing is one whose setting may not fit."""
    text = describe(error, greeting=True)
    assert "set NATS_TLS_HANDSHAKE_FIRST=true" in text
    text = describe(error, greeting=True, handshake_first=True)
    assert "unset NATS_TLS_HANDSHAKE_FIRST" in text


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (nats.errors.NoRespondersError(), SinkUnavailableError),
        (nats.errors.MaxPayloadError(), PayloadTooLargeError),
        (nats.errors.TimeoutError(), OutcomeUnknownError),
        (nats.errors.ConnectionClosedError(), SinkUnavailableError),
        (nats.errors.OutboundBufferLimitError(), SinkUnavailableError),
        (nats.errors.Error("nats: anything"), OutcomeUnknownError),
        (OSError(5, "Input/output error"), OutcomeUnknownError),
    ],
)
def test_a_failed_call_is_an_error_of_the_sink(error: Exception, kind: type[Exception]) -> None:
    """What is not known to have had no effect is an unknown outcome."""
    assert type(translated(error)) is kind
