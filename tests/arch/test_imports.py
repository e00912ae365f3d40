"""Imports point downwards, and the declared dependencies are the imported ones."""

from __future__ import annotations

import ast
import subprocess
import sys
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

_ROOT = Path(__file__).parents[2]


def test_import_contracts_hold() -> None:
    """The layers and the exclusive imports of pyproject.toml hold."""
    # In a process of its own: import-linter switches off the loggers that are there already.
    program = "from importlinter.cli import lint_imports_command as run; run()"
    linted = subprocess.run(
        [sys.executable, "-c", program, "--no-cache", "--no-logo"],
        cwd=_ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert linted.returncode == 0, linted.stdout + linted.stderr


def test_dependencies_are_the_imported_ones() -> None:
    """The package declares each distribution that it imports, and none that it does not.

    Those of an extra are imported where an import contract allows it.
    """
    project = tomllib.loads((_ROOT / "pyproject.toml").read_text())["project"]
    declared = {canonicalize_name(Requirement(line).name) for line in project["dependencies"]}
    distributions = packages_distributions()
    imported = {
        canonicalize_name(distributions.get(name, [name])[0])
        for path in (_ROOT / "src").rglob("*.py")
        for name in _imports(path) - {"mnc", "opentelemetry"} - sys.stdlib_module_names
    }
    assert imported == declared


def _imports(path: Path) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        match node:
            case ast.Import(names=aliases):
                names.update(alias.name.partition(".")[0] for alias in aliases)
            case ast.ImportFrom(module=str(module), level=0):
                names.add(module.partition(".")[0])
    return names
