"""Files that settings name, read so that no message shows what may be a secret."""

from __future__ import annotations

from pathlib import Path

from mnc.config.uris import mask_credentials
from mnc.errors import ConfigError

__all__ = ["read_secret", "read_text", "shown_path"]


def read_text(setting: str, path: str) -> str:
    """Return the text of a file that `setting` names. Raises ConfigError when it can't be read."""
    try:
        return Path(path).read_text(encoding="utf-8")
    except OSError as error:
        problem = f"can't read {shown_path(path)}: {error.strerror}"
    except ValueError:  # not UTF-8, or a path with a null character
        problem = f"{shown_path(path)} is not UTF-8 text"
    # Outside the handler, so that the cause, which may hold the text, is not attached.
    raise ConfigError(setting, problem)


def read_secret(setting: str, path: str) -> str:
    """Return the secret in a file that `setting` names, without white space around it.

    Raises ConfigError when the file can't be read or holds nothing.
    """
    secret = read_text(setting, path).strip()
    if not secret:
        raise ConfigError(setting, f"{shown_path(path)} is empty")
    return secret


def shown_path(path: str) -> str:
    """Name a file, unless what stands there may be a secret that was meant for another setting."""
    if "/" not in path or not path.isprintable():
        return "the file that it names"
    return mask_credentials(f"the file {path!r}")
