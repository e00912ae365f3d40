"""docs/deployment.md is about what is there."""

from __future__ import annotations

import re

from tests.deploy.checkout import ROOT
from tests.deploy.manifests import rendered

from mnc.config import setting_rows

_PAGE = (ROOT / "docs" / "deployment.md").read_text()


def test_what_the_page_names_exists() -> None:
    """Every script, every folder of manifests and every setting of the page is there."""
    for path in re.findall(r"(?<![\w/])\.(?:scripts|k8s)/[\w./-]*\w", _PAGE):
        assert (ROOT / path).exists(), path
    settings = {row.name for row in setting_rows()}
    for name in re.findall(r"`((?:MONGO|NATS|RAFT|HTTP|SHUTDOWN|PUBLISH)_[A-Z_]+)", _PAGE):
        assert name in settings or name.removesuffix("_FILE") in settings, name


def test_the_page_makes_the_secret_that_pods_mount() -> None:
    """An operator who copies the command has the keys that the manifests ask for."""
    made = set(re.findall(r"--from-literal=([\w-]+)=", _PAGE))
    (secret,) = [item for item in rendered("overlays/local") if item["kind"] == "Secret"]
    assert made == secret["data"].keys()
