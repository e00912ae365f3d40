"""A release: what .scripts/release makes of a checkout, with the package index in reach."""

from __future__ import annotations

import hashlib
import json
import re
import subprocess
from pathlib import Path

import pytest
from packaging.utils import canonicalize_name
from tests.deploy.checkout import ROOT

from mnc import __version__

_SCRIPT = ROOT / ".scripts" / "release"


@pytest.mark.soak  # it installs three dozen packages twice
@pytest.mark.timeout(900)
def test_a_release_is_complete(tmp_path: Path) -> None:
    """The wheel runs where nothing but the locked packages is, and the bill lists just those."""
    out = tmp_path / "dist"
    done = subprocess.run([_SCRIPT, out], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    bill = f"mnc-{__version__}.cdx.json"
    archives = {f"mnc-{__version__}.tar.gz", f"mnc-{__version__}-py3-none-any.whl"}
    assert {path.name for path in out.iterdir()} == {*archives, bill, "SHA256SUMS"}
    for line in (out / "SHA256SUMS").read_text().splitlines():
        digest, name = line.split()
        assert hashlib.sha256((out / name).read_bytes()).hexdigest() == digest
    listed = json.loads((out / bill).read_text())
    assert listed["metadata"]["component"]["name"] == "mnc"
    assert listed["metadata"]["component"]["version"] == __version__
    found = {canonicalize_name(item["name"]): item["version"] for item in listed["components"]}
    lock = (ROOT / "locks" / "serve.txt").read_text()
    # Those of other systems and other Pythons have a marker.
    everywhere = dict(re.findall(r"^([\w.-]+)==(\S+) \\$", lock, re.MULTILINE))
    known = dict(re.findall(r"^([\w.-]+)==(\S+)", lock, re.MULTILINE))
    assert everywhere.items() <= found.items() <= known.items()
    assert all(item["licenses"] for item in listed["components"])


def test_a_release_replaces_nothing(tmp_path: Path) -> None:
    """A folder that is there already, with an earlier release perhaps, is left alone."""
    done = subprocess.run([_SCRIPT, tmp_path], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "is there already" in done.stderr
    assert list(tmp_path.iterdir()) == []
