"""What kustomize makes of the manifests."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from typing import Any

import pytest
import yaml
from tests.deploy.checkout import ROOT

__all__ = ["INSTANCE_LABELS", "Manifest", "pods", "rendered", "the"]

Manifest = Mapping[str, Any]

INSTANCE_LABELS = {"app.kubernetes.io/name": "mnc"}
"""What the pods of the connector are selected by."""


@cache
def rendered(folder: str) -> Sequence[Manifest]:
    """Return the manifests of a folder of .k8s; skip the test without a kustomize."""
    if kubectl := shutil.which("kubectl"):
        command = [kubectl, "kustomize"]
    elif kustomize := shutil.which("kustomize"):
        command = [kustomize, "build"]
    else:
        pytest.skip("neither kubectl nor kustomize is on PATH")
    built = subprocess.run(
        [*command, f".k8s/{folder}"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert built.returncode == 0, built.stderr
    assert built.stderr == ""  # where it warns of what is deprecated
    return list(yaml.safe_load_all(built.stdout))


def the(folder: str, kind: str, name: str = "mnc") -> Manifest:
    """Return the one manifest of a kind and a name, which may have a hash behind it."""
    (found,) = [
        manifest
        for manifest in rendered(folder)
        if manifest["kind"] == kind and _is_named(manifest["metadata"]["name"], name)
    ]
    return found


def _is_named(found: str, name: str) -> bool:
    """Say whether it is the name, or the name with kustomize's hash behind it."""
    return re.fullmatch(rf"{re.escape(name)}(-[0-9a-z]{{10}})?", found) is not None


def pods(folder: str) -> Iterator[tuple[Mapping[str, str], Manifest]]:
    """Return the labels and the specification of each pod template."""
    for manifest in rendered(folder):
        if manifest["kind"] in {"StatefulSet", "Deployment", "Job"}:
            template = manifest["spec"]["template"]
            yield template["metadata"]["labels"], template["spec"]
