"""Log lines have one form, whoever wrote them, and no credentials."""

from __future__ import annotations

import io
import json
import logging
from datetime import UTC, datetime
from typing import TYPE_CHECKING, NoReturn

import pytest
import structlog

from mnc.telemetry.logging import configure_logging

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mnc.config import LogFormat, LogLevel


class _Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def _unchanged_logging() -> Iterator[None]:
    """Give the next test the loggers that this one found."""
    root, own = logging.getLogger(), logging.getLogger("mnc")
    before = (root.handlers[:], root.level, own.level)
    yield
    root.handlers[:], level, own_level = before
    root.setLevel(level)
    own.setLevel(own_level)
    structlog.reset_defaults()


def _configured(
    level: LogLevel = "info", form: LogFormat = "json", stream: io.StringIO | None = None
) -> io.StringIO:
    stream = stream or io.StringIO()
    configure_logging(level, form, stream)
    return stream


def _fail(message: str, document: str = "") -> NoReturn:  # noqa: ARG001 a local variable is what matters
    raise RuntimeError(message)


def test_a_json_line_has_time_level_event_and_fields() -> None:
    """An event is one JSON object that begins with a UTC time, its level and its name."""
    stream = _configured()
    structlog.get_logger().bind(collection="users").info("capture.resumed", lag_s=0.5)
    line = stream.getvalue()
    assert line.count("\n") == 1
    fields = json.loads(line)
    assert list(fields) == ["timestamp", "level", "event", "collection", "lag_s"]
    assert fields["level"] == "info"
    assert fields["event"] == "capture.resumed"
    written = datetime.fromisoformat(fields["timestamp"])
    assert written.tzinfo == UTC
    assert abs((datetime.now(UTC) - written).total_seconds()) < 60


@pytest.mark.parametrize(
    ("level", "events"), [("debug", "abcd"), ("info", "bcd"), ("warning", "cd"), ("error", "d")]
)
def test_events_below_the_level_are_not_written(level: LogLevel, events: str) -> None:
    """The level is a threshold for mnc's own events."""
    stream = _configured(level)
    log = structlog.get_logger()
    log.debug("a")
    log.info("b")
    log.warning("c")
    log.error("d")
    assert [json.loads(line)["event"] for line in stream.getvalue().splitlines()] == [*events]


@pytest.mark.parametrize(("level", "events"), [("debug", ["w", "e"]), ("error", ["e"])])
def test_libraries_are_heard_from_warning_up(level: LogLevel, events: list[str]) -> None:
    """The client libraries' loggers are written in the same form, never below WARNING."""
    stream = _configured(level)
    library = logging.getLogger("nats.aio.client")
    library.info("i")
    library.warning("w")
    library.error("%s", "e")
    lines = [json.loads(line) for line in stream.getvalue().splitlines()]
    assert [line["event"] for line in lines] == events
    assert {line["logger"] for line in lines} == {"nats.aio.client"}


@pytest.mark.parametrize("form", ["json", "console"])
def test_no_credentials_are_written(form: LogFormat) -> None:
    """URIs lose their user information in events, fields, tracebacks and libraries' messages."""
    stream = _configured(form=form)
    uri = "mongodb://user:hunter2@host/db"
    log = structlog.get_logger()
    log.error("a", uri=uri, nested={"list": [uri]}, error=RuntimeError(uri))
    logging.getLogger("pymongo").warning("lost %s", uri)
    try:
        _fail(uri)
    except RuntimeError:
        log.exception("b")
        logging.getLogger("pymongo").exception("c")
    text = stream.getvalue()
    assert "hunter2" not in text
    assert text.count("mongodb://***@host/db") >= 6


@pytest.mark.parametrize("form", ["json", "console"])
def test_tracebacks_show_no_local_variables(form: LogFormat) -> None:
    """A traceback has the code's lines, not the values, among which may be documents."""
    stream = _configured(form=form)
    try:
        _fail("broken", "".join(("docu", "ment")))
    except RuntimeError:
        structlog.get_logger().exception("a")
    assert "RuntimeError: broken" in stream.getvalue()
    assert "document" not in stream.getvalue()


@pytest.mark.parametrize(
    ("form", "stream", "is_json"),
    [
        ("auto", io.StringIO(), True),
        ("auto", _Terminal(), False),
        ("json", _Terminal(), True),
        ("console", io.StringIO(), False),
    ],
)
def test_the_form_follows_the_stream_unless_set(
    form: LogFormat, stream: io.StringIO, is_json: bool
) -> None:
    """A person at a terminal gets readable lines, everything else JSON; a setting decides."""
    _configured(form=form, stream=stream)
    structlog.get_logger().info("a", b=1)
    line = stream.getvalue()
    assert line.startswith("{") is is_json
    assert ("\x1b[" in line) is (stream.isatty() and not is_json)


def test_no_color_is_honoured(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who wants no colours on a terminal gets readable lines without."""
    monkeypatch.setenv("NO_COLOR", "1")
    stream = _configured(form="auto", stream=_Terminal())
    structlog.get_logger().info("a", b=1)
    assert "\x1b[" not in stream.getvalue()
    assert not stream.getvalue().startswith("{")


def test_logs_go_to_standard_error(capsys: pytest.CaptureFixture[str]) -> None:
    """Standard output stays free for data."""
    configure_logging("info", "json")
    structlog.get_logger().info("a")
    captured = capsys.readouterr()
    assert captured.out == ""
    assert json.loads(captured.err)["event"] == "a"


def test_configuring_again_replaces_the_form() -> None:
    """Two configurations do not write each line twice."""
    first, second = _configured(), _configured(form="console")
    structlog.get_logger().info("a")
    assert first.getvalue() == ""
    assert second.getvalue().count("\n") == 1


def test_a_broken_stream_does_not_break_the_caller(capsys: pytest.CaptureFixture[str]) -> None:
    """An event is logged or lost; logging never raises into a lane."""
    stream = _configured()
    stream.close()
    structlog.get_logger().info("a")
    assert "ValueError" in capsys.readouterr().err
