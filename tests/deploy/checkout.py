"""The files under test, and programs that are no Python."""

from __future__ import annotations

import shutil
import sysconfig
from pathlib import Path

__all__ = ["ROOT", "dockerfile", "linter"]

ROOT = Path(__file__).parents[2]


def dockerfile() -> str:
    """Return the Dockerfile, with continued lines as one."""
    return (ROOT / "Dockerfile").read_text().replace("\\\n", "")


def linter(name: str) -> str:
    """Return the path of a linter, which a wheel of the dev group has installed."""
    path = shutil.which(name, path=sysconfig.get_path("scripts")) or shutil.which(name)
    assert path is not None, f"{name} is missing; make the environment with .scripts/venv dev"
    return path
