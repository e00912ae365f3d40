"""Options that several commands have."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click

__all__ = ["timeout_option"]

_Command = TypeVar("_Command", bound=Callable[..., Any])


def timeout_option(help_text: str) -> Callable[[_Command], _Command]:
    """Return a decorator that adds `--timeout`, in seconds, as `timeout_s`."""
    return click.option(
        "--timeout",
        "timeout_s",
        type=click.FloatRange(min=0.1, max=600),
        default=5.0,
        show_default=True,
        metavar="SECONDS",
        help=help_text,
    )
