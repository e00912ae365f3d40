"""Log lines: one handler, one form, for mnc's own events and for those of the client libraries.

Lines go to standard error, so that standard output stays free for data. Every finished line passes
through `mask_credentials`, tracebacks and the libraries' own messages included.
"""

from __future__ import annotations

import logging
import os
import sys
from typing import TYPE_CHECKING, TextIO

import structlog

from mnc.config import mask_credentials

if TYPE_CHECKING:
    from structlog.typing import EventDict, Processor, WrappedLogger

    from mnc.config import LogFormat, LogLevel

__all__ = ["configure_logging"]

_FIRST_KEYS = ("timestamp", "level", "event")


def configure_logging(level: LogLevel, form: LogFormat, stream: TextIO | None = None) -> None:
    """Send log lines of at least `level` to `stream` (standard error by default).

    `form` "auto" is "console" when the stream is a terminal, otherwise "json". Loggers of the
    standard library (nats, pymongo, hypercorn) are written in the same form, from WARNING up.
    Calling it again replaces what was configured before.
    """
    stream = stream or sys.stderr
    threshold = logging.getLevelNamesMapping()[level.upper()]
    is_console = form == "console" or (form == "auto" and stream.isatty())
    shared: list[Processor] = [
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    handler = logging.StreamHandler(stream)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[structlog.stdlib.add_logger_name, *shared],
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                *(_console(stream) if is_console else _json()),
                _mask,
            ],
        )
    )
    logging.basicConfig(handlers=[handler], level=max(threshold, logging.WARNING), force=True)
    own = logging.getLogger("mnc")
    own.setLevel(threshold)
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            *shared,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(threshold),
        logger_factory=lambda *_: own,
    )


def _json() -> list[Processor]:
    # A plain traceback: the structured one would show the values of local variables.
    return [
        structlog.processors.format_exc_info,
        _lead_with_first_keys,
        structlog.processors.JSONRenderer(),
    ]


def _console(stream: TextIO) -> list[Processor]:
    # The default traceback shows the values of local variables.
    return [
        structlog.dev.ConsoleRenderer(
            colors=_has_colors(stream), exception_formatter=structlog.dev.plain_traceback
        )
    ]


def _has_colors(stream: TextIO) -> bool:
    # The convention of no-color.org, for those who can't read colours.
    return stream.isatty() and not os.environ.get("NO_COLOR")


def _lead_with_first_keys(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
    return {key: event[key] for key in _FIRST_KEYS} | dict(event)


def _mask(_: WrappedLogger, __: str, line: object) -> str:
    return mask_credentials(str(line))
