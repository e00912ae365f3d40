"""Rules of the code's style that no linter knows."""

from __future__ import annotations

import ast
import re
import subprocess
from pathlib import Path

import pytest

_ROOT = Path(__file__).parents[2]
_MAX_LINES = 500

_PACKAGE = sorted((_ROOT / "src").rglob("*.py"))
_TESTS = sorted((_ROOT / "tests").rglob("*.py"))
_BENCH = sorted((_ROOT / "bench").rglob("*.py"))
_MONITORING = sorted((_ROOT / "monitoring").rglob("*.py"))

# Folders of one person's machine or of one service's, written so that this line has none itself.
_PRIVATE_PATH = re.compile(r"(?<![\w.~}-])/(?:work|root|home|Users|opt)(?=/)")


def _name(path: Path) -> str:
    return path.relative_to(_ROOT).as_posix()


@pytest.mark.parametrize("path", [*_PACKAGE, *_TESTS, *_BENCH, *_MONITORING], ids=_name)
def test_modules_are_short(path: Path) -> None:
    """A module has at most 500 lines; one that grows is split by decision."""
    assert len(path.read_text().splitlines()) <= _MAX_LINES


@pytest.mark.parametrize(
    "path",
    [path for path in _PACKAGE if not path.name.startswith("_") or path.name == "__main__.py"],
    ids=_name,
)
def test_public_modules_say_what_is_public(path: Path) -> None:
    """A public module has `__all__`."""
    assigned = {
        target.id
        for node in ast.parse(path.read_text()).body
        if isinstance(node, ast.Assign)
        for target in node.targets
        if isinstance(target, ast.Name)
    }
    assert "__all__" in assigned


@pytest.mark.parametrize("path", _TESTS, ids=_name)
def test_tests_state_their_guarantee(path: Path) -> None:
    """Every test has a docstring that is a sentence."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith(
            "test_"
        ):
            assert (ast.get_docstring(node) or "").endswith("."), f"line {node.lineno}"


def test_no_private_path_is_named() -> None:
    """What is committed works on any machine: no file names a folder of one of them."""
    found = [
        f"{_name(path)}:{number}"
        for path in _committed()
        # Plots aren't text, but what they say of their making is.
        for number, line in enumerate(path.read_text(errors="replace").splitlines(), 1)
        if _PRIVATE_PATH.search(line)
    ]
    assert found == []


def _committed() -> list[Path]:
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=_ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    paths = [_ROOT / name for name in listed.stdout.split("\0") if name]
    return [path for path in paths if path.is_file()]
