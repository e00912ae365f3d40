"""The wheel and the source archive: complete, alike, and able to run away from the checkout."""

from __future__ import annotations

import email
import re
import subprocess
import sys
import sysconfig
import tarfile
import tomllib
import zipfile
from collections.abc import Sequence
from pathlib import Path

import pytest
from tests.connector import ConnectorProcess
from tests.deploy.checkout import ROOT

from mnc import __version__

_WHEEL = f"mnc-{__version__}-py3-none-any.whl"
_SOURCES = f"mnc-{__version__}.tar.gz"
_MADE_BY_THE_BACKEND = {"PKG-INFO"}


@pytest.fixture(scope="module")
def dist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with both archives, made from the checkout."""
    folder = tmp_path_factory.mktemp("dist")
    _build(ROOT, folder, "--target", "sdist", "--target", "wheel")
    return folder


def test_archives_are_named_after_the_version(dist: Path) -> None:
    """The version stands in one place, and names, metadata and the package all have it."""
    assert {path.name for path in dist.iterdir()} == {_WHEEL, _SOURCES}
    with zipfile.ZipFile(dist / _WHEEL) as wheel:
        metadata = email.message_from_bytes(wheel.read(f"mnc-{__version__}.dist-info/METADATA"))
    assert metadata["Version"] == __version__
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert project["dynamic"] == ["version"]


def test_the_wheel_has_the_package_and_nothing_else(dist: Path) -> None:
    """Whoever installs it gets all modules, the marker of its types, the license, and no tests."""
    with zipfile.ZipFile(dist / _WHEEL) as wheel:
        names = set(wheel.namelist())
    info = {name for name in names if name.startswith(f"mnc-{__version__}.dist-info/")}
    package = {name.removeprefix("src/") for name in _tracked() if name.startswith("src/")}
    assert names - info == package
    assert "mnc/py.typed" in package
    assert f"mnc-{__version__}.dist-info/licenses/LICENSE" in info


def test_the_source_archive_has_what_the_repository_has(dist: Path) -> None:
    """Whoever has it can build, test and deploy as from a checkout."""
    with tarfile.open(dist / _SOURCES) as sources:
        names = {name.partition("/")[2] for name in sources.getnames()}
    assert names - _MADE_BY_THE_BACKEND == set(_tracked())


def test_the_source_archive_gives_the_same_wheel(dist: Path, tmp_path: Path) -> None:
    """A wheel that somebody builds later is, byte for byte, the one that was released."""
    with tarfile.open(dist / _SOURCES) as sources:
        sources.extractall(tmp_path, filter="data")
    _build(tmp_path / f"mnc-{__version__}", tmp_path, "--target", "wheel")
    assert (tmp_path / _WHEEL).read_bytes() == (dist / _WHEEL).read_bytes()


def test_the_wheel_runs_away_from_the_checkout(dist: Path, tmp_path: Path) -> None:
    """Installed alone beside its dependencies, `mnc` starts, answers, and ends as it should."""
    venv = tmp_path / "venv"
    _run(sys.executable, "-m", "venv", "--without-pip", venv)
    python = venv / "bin" / "python"
    # The dependencies are those of this environment; its own editable mnc isn't seen that way.
    (site,) = (venv / "lib").glob("python*/site-packages")
    (site / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    _run(
        *(sys.executable, "-m", "pip", "--quiet", "--python", python),
        *("install", "--no-compile", "--no-deps", "--no-index", dist / _WHEEL),
    )
    settings = {
        "MONGO_URI": "mongodb://127.0.0.1:1/shop",
        "MONGO_WATCH_COLLECTIONS": "users",
        "NATS_SERVER_URL": "nats://127.0.0.1:1",
        "PYTHONPATH": "",
    }
    command = (str(venv / "bin" / "mnc"), "serve")
    connector = ConnectorProcess(settings, log_path=tmp_path / "log", command=command)
    try:
        assert connector.get("/livez").json() == {"status": "alive"}
        assert connector.get("/status").json()["version"] == __version__
        assert connector.reasons()
    finally:
        connector.terminate()
    where = _run(python, "-I", "-c", "import mnc; print(mnc.__file__)")
    assert where.startswith(str(venv))


def test_the_version_is_semantic() -> None:
    """Users can tell from it what may have changed."""
    assert re.fullmatch(r"(0|[1-9]\d*)\.(0|[1-9]\d*)\.(0|[1-9]\d*)(rc[1-9]\d*)?", __version__)


def test_the_changelog_goes_with_the_version() -> None:
    """What isn't released stands at the top; below, the newest release is this version or older."""
    changelog = (ROOT / "CHANGELOG.md").read_text()
    assert re.findall(r"^## \[(.+?)\]", changelog, re.MULTILINE)[0] == "Unreleased"
    released = re.findall(r"^## \[(\d.*?)\] - \d{4}-\d\d-\d\d$", changelog, re.MULTILINE)
    assert len(released) + 1 == len(re.findall(r"^## \[", changelog, re.MULTILINE))
    if released:
        assert released[0] == __version__


def _build(checkout: Path, folder: Path, *arguments: str) -> None:
    _run(
        sys.executable, "-m", "hatchling", "build", "--directory", folder, *arguments, cwd=checkout
    )


def _run(*command: str | Path, cwd: Path | None = None) -> str:
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def _tracked() -> Sequence[str]:
    """Return the files that are committed, or are to be."""
    listed = _run(
        *("git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"), cwd=ROOT
    )
    return [name for name in listed.split("\0") if name and (ROOT / name).is_file()]
