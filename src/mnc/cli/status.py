"""`mnc status`: what an instance does, and its cluster, as the instance itself says."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Mapping
from http import HTTPStatus
from http.client import HTTPException, HTTPResponse
from urllib.error import HTTPError
from urllib.parse import urlsplit
from urllib.request import ProxyHandler, build_opener

import click
from rich.console import Console

from mnc.cli.options import timeout_option
from mnc.config import load_settings
from mnc.errors import ConfigError, InstanceError
from mnc.terminal.event import printable
from mnc.terminal.status import (
    plain_status,
    read_reasons,
    read_status,
    sections,
    terminal_status,
)

__all__ = ["status"]

_EXIT_NOT_READY = 1
_LIMIT_BYTES = 4 * 1024 * 1024
"""Far more than a status of a thousand collections takes."""
_CHUNK_BYTES = 64 * 1024
_REMEDY = "is `mnc serve` running there? --url or HTTP_PORT says where to ask"
_UNUSED = {"MONGO_URI": "mongodb://127.0.0.1/unused", "MONGO_WATCH_COLLECTIONS": "unused"}
"""What the settings can't be without, although this command doesn't need it."""


def _base(_: click.Context, __: click.Parameter, value: str | None) -> str | None:
    """Check an instance's address; its path, as in /status, is left out."""
    if value is None:
        return None
    try:
        parts = urlsplit(value)
        is_address = parts.scheme in {"http", "https"} and parts.hostname and parts.port != 0
    except ValueError:
        is_address = False
    if not is_address or not value.isprintable() or " " in value:
        raise click.BadParameter("it is not like http://host:port")
    return f"{parts.scheme}://{parts.netloc}"


@click.command()
@click.option(
    "--url",
    metavar="URL",
    callback=_base,
    help="Where the instance answers.  [default: http://127.0.0.1 with HTTP_PORT, or 3000]",
)
@timeout_option("How long the instance may take to answer.")
@click.option("--json", "as_json", is_flag=True, help="Print the answer of /status as it is.")
def status(url: str | None, timeout_s: float, *, as_json: bool) -> int:
    """Show what an instance does, and what it knows of its cluster.

    Asks a running `mnc serve` over HTTP. Prints tables on a terminal, else a line for each row,
    with tabs between its section and its cells. Any instance shows the whole cluster.

    Ends with 0 when the instance is ready, with 1 when it isn't or can't be asked, and with 2 when
    the setting or the argument is wrong.
    """
    base = url or _own_url(os.environ)
    raw = _ask(f"{base}/status", timeout_s)
    found = read_status(raw)
    if as_json:
        click.echo(raw)
    else:
        reasons = [] if found.ready else read_reasons(_ask(f"{base}/readyz", timeout_s))
        shown = list(sections(found, reasons))
        if sys.stdout.isatty():
            Console().print(terminal_status(shown))
        else:
            for line in plain_status(shown):
                click.echo(line)
    return 0 if found.ready else _EXIT_NOT_READY


def _own_url(environ: Mapping[str, str]) -> str:
    """Return where an instance with these settings answers. Raises ConfigError."""
    used = {name: environ.get(name, "") for name in ("HTTP_PORT", "MNC_CONFIG")}
    port = load_settings({**_UNUSED, **used}).http_port
    if port == 0:
        raise ConfigError("HTTP_PORT", "0 is any free port", remedy="name the instance by --url")
    return f"http://127.0.0.1:{port}"


def _ask(url: str, timeout_s: float) -> bytes:
    """Return what an instance answers, an answer that it isn't ready included.

    Raises InstanceError.
    """
    deadline = time.monotonic() + timeout_s
    try:
        with _open(url, timeout_s) as answer:
            data = bytearray()
            while chunk := answer.read1(_CHUNK_BYTES):
                data += chunk
                if len(data) > _LIMIT_BYTES:
                    raise InstanceError(f"{url} answers without an end", remedy=_REMEDY)
                if time.monotonic() > deadline:
                    raise TimeoutError(f"no whole answer in {timeout_s:g} s")
    except (OSError, HTTPException) as error:
        reason = str(getattr(error, "reason", error)).strip() or type(error).__name__
        raise InstanceError(
            f"{url} can't be asked: {printable(reason)}",
            remedy=_REMEDY,
        ) from error
    return bytes(data)


def _open(url: str, timeout_s: float) -> HTTPResponse:
    # Without the environment's proxies, which aren't for addresses inside a cluster.
    opener = build_opener(ProxyHandler({}))
    try:
        answer: HTTPResponse = opener.open(url, timeout=timeout_s)
    except HTTPError as refusal:
        # /readyz says by this code that the instance isn't ready.
        if refusal.code != HTTPStatus.SERVICE_UNAVAILABLE:
            raise
        return refusal  # type: ignore[return-value] # it has the response's methods
    return answer
