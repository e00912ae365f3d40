"""Where the servers' programs are: on PATH, or in the wheels of the `embedded` extra."""

from __future__ import annotations

import importlib.util
import os
import shutil
import stat
import sysconfig
from collections.abc import Iterator
from pathlib import Path

from mnc.errors import MncError

__all__ = ["ServerNotFoundError", "find_mongod", "find_nats_server"]

_RUN_BITS = stat.S_IXUSR | stat.S_IXGRP | stat.S_IXOTH


class ServerNotFoundError(MncError):
    """Neither PATH nor an installed wheel has the server's program, or it can't be run."""

    kind = "server_not_found"


def find_mongod() -> Path:
    """Return the path of a `mongod`: the one on PATH, else the one of the embedded extra.

    Raises ServerNotFoundError.
    """
    return _find("mongod", _mongods_of_the_wheel())


def find_nats_server() -> Path:
    """Return the path of a `nats-server`: the one on PATH, else the one of the embedded extra.

    Raises ServerNotFoundError.
    """
    # The wheel puts its program among the environment's scripts, which stand on PATH only when
    # the environment is activated.
    return _find("nats-server", iter([Path(sysconfig.get_path("scripts")) / "nats-server"]))


def _find(program: str, in_wheels: Iterator[Path]) -> Path:
    on_path = shutil.which(program)
    if on_path is not None:
        return Path(on_path).absolute()
    for candidate in in_wheels:
        if candidate.is_file():
            return _runnable(candidate)
    raise ServerNotFoundError(
        f"no {program} on PATH and none in this Python environment",
        remedy=f"run `pip install 'mnc[embedded]'`, or install {program} and put it on PATH",
    )


def _mongods_of_the_wheel() -> Iterator[Path]:
    # Looking up a top-level package imports nothing: the whole of FiftyOne, which may share the
    # name, does a lot when it is imported.
    spec = importlib.util.find_spec("fiftyone")
    for folder in (spec.submodule_search_locations or []) if spec is not None else []:
        yield Path(folder) / "db" / "bin" / "mongod"


def _runnable(program: Path) -> Path:
    """Set the run bit, which the wheel's file lacks. Raises ServerNotFoundError if it can't be."""
    if not os.access(program, os.X_OK):
        try:
            program.chmod(program.stat().st_mode | _RUN_BITS)
        except OSError as error:
            raise ServerNotFoundError(
                f"{program} can't be run and its mode can't be changed: {error.strerror}",
                remedy=f"run `chmod +x {program}` as its owner",
            ) from error
    return program
