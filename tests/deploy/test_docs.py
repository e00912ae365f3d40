"""What the documentation names is there: a reader may copy its commands."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from importlib import import_module
from pathlib import Path

import click
import pytest
import yaml
from tests.deploy.checkout import ROOT
from tests.deploy.manifests import rendered

from mnc.config import setting_rows

_PAGES = [ROOT / name for name in ("README.md", "SECURITY.md")] + sorted(ROOT.glob("docs/*.md"))
_DEPLOYMENT = ROOT / "docs" / "deployment.md"

_COMMANDS = "check|serve|status|tail|up"

_each = pytest.mark.parametrize("page", _PAGES, ids=lambda page: page.name)


@_each
def test_what_a_page_names_exists(page: Path) -> None:
    """Every script and every folder of manifests of the page is there."""
    for path in re.findall(r"(?<![\w/])\.(?:scripts|k8s|ci)/[\w./-]*\w", page.read_text()):
        assert (ROOT / path).exists(), path


@_each
def test_links_lead_somewhere(page: Path) -> None:
    """A link to a page of the repository leads to a file, and to a heading that is in it."""
    for target in re.findall(r"\]\((?!https?://)([^)\s]+)\)", _without_code(page.read_text())):
        name, _, anchor = target.partition("#")
        linked = (page.parent / name).resolve() if name else page
        assert linked.exists(), target
        if anchor:
            assert anchor in _anchors(linked), target


@_each
def test_commands_have_the_options_that_a_page_gives_them(page: Path) -> None:
    """`mnc` takes each command and each option that the page has in a block for the shell."""
    for name, words in _commands(page):
        command = getattr(import_module(f"mnc.cli.{name}"), name)
        assert isinstance(command, click.Command)
        known = {option for parameter in command.params for option in parameter.opts}
        options = {word.partition("=")[0] for word in words if word.startswith("-")}
        assert options <= {*known, "--help"}, (name, words)


@_each
def test_containers_that_a_page_names_are_composed(page: Path) -> None:
    """A service of `docker compose` is one of compose.yaml."""
    services = yaml.safe_load((ROOT / "compose.yaml").read_text())["services"]
    for name in re.findall(r"docker compose (?:exec|kill|logs) ([\w-]+)", page.read_text()):
        assert name in services


@_each
def test_pods_that_a_page_names_are_deployed(page: Path) -> None:
    """A pod is one of a StatefulSet of the local overlay, and so is what is rolled out."""
    kubectl = "\n".join(re.findall(r"kubectl .*", page.read_text()))
    named = re.findall(r"(?:exec|logs|pod) (?:--stdin )?([a-z]+)-\d", kubectl)
    named += re.findall(r"statefulset ([\w-]+)", kubectl)
    if named:
        sets = [item for item in rendered("overlays/local") if item["kind"] == "StatefulSet"]
        assert set(named) <= {item["metadata"]["name"] for item in sets}


def test_settings_of_the_page_exist() -> None:
    """Every setting that docs/deployment.md names is one."""
    settings = {row.name for row in setting_rows()}
    named = r"`((?:MONGO|NATS|RAFT|HTTP|SHUTDOWN|PUBLISH)_[A-Z_]+)"
    for name in re.findall(named, _DEPLOYMENT.read_text()):
        assert name in settings or name.removesuffix("_FILE") in settings, name


def test_the_page_makes_the_secret_that_pods_mount() -> None:
    """An operator who copies the command has the keys that the manifests ask for."""
    made = set(re.findall(r"--from-literal=([\w-]+)=", _DEPLOYMENT.read_text()))
    (secret,) = [item for item in rendered("overlays/local") if item["kind"] == "Secret"]
    assert made == secret["data"].keys()


def test_the_first_page_makes_the_local_cluster_that_the_other_explains() -> None:
    """From the README to three instances on a local cluster: the commands are the same."""
    (block,) = (
        block for block in _blocks(_DEPLOYMENT.read_text()) if "kubectl config use-context" in block
    )
    assert any(other.startswith(block) for other in _blocks((ROOT / "README.md").read_text()))


def _blocks(text: str) -> Sequence[str]:
    """Return the blocks for the shell, without their indentation."""
    found = re.findall(r"^( *)```sh\n(.*?)^ *```$", text, re.MULTILINE | re.DOTALL)
    return [re.sub(rf"^{indent}", "", block, flags=re.MULTILINE) for indent, block in found]


def _commands(page: Path) -> Iterator[tuple[str, Sequence[str]]]:
    """Yield each command of `mnc` in a block, with the words behind it up to the next program."""
    for block in _blocks(page.read_text()):
        for name, words in re.findall(rf"\bmnc ({_COMMANDS})\b([^;&#|<>\n]*)", block):
            yield name, words.split()


def _without_code(text: str) -> str:
    return re.sub(r"^ *```.*?^ *```$|`[^`\n]*`", "", text, flags=re.MULTILINE | re.DOTALL)


def _anchors(page: Path) -> set[str]:
    """Return how GitHub names the headings of a page."""
    headings = re.findall(r"^#+ (.+)$", _without_code(page.read_text()), re.MULTILINE)
    plain = (re.sub(r"[^\w\- ]", "", heading.lower()) for heading in headings)
    return {heading.replace(" ", "-") for heading in plain}
