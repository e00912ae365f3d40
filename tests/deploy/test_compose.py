"""compose.yaml: valid, and three connectors that can be told apart."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

import compose_spec
import pytest
import yaml
from tests.deploy.checkout import ROOT, dockerfile

from mnc.config import Settings, load_settings

_CONNECTORS = ["connector-0", "connector-1", "connector-2"]


def _composed() -> Mapping[str, Any]:
    """Return the file, with its anchors and merges resolved."""
    composed: Mapping[str, Any] = yaml.safe_load((ROOT / "compose.yaml").read_text())
    return composed


def test_compose_knows_every_key() -> None:
    """The file follows the Compose specification, which has no key that is misspelt."""
    spec = compose_spec.PyCompose.from_json(json.dumps(_composed())).to_spec()
    assert spec.services is not None
    assert set(_CONNECTORS) < set(spec.services)


@pytest.mark.parametrize("name", _CONNECTORS)
def test_the_settings_are_good_ones(name: str) -> None:
    """`mnc serve` accepts what a connector is given, and as many run as a cluster has."""
    settings = load_settings(_composed()["services"][name]["environment"])
    assert settings.raft_cluster_size == len(_CONNECTORS)
    assert settings.raft_node_name == name


def test_each_connector_has_its_own_disk_and_port() -> None:
    """Two on one disk would be one member; a disk that is no volume is lost with its container."""
    composed = _composed()
    connectors = [composed["services"][name] for name in _CONNECTORS]
    (state,) = re.findall(r"^VOLUME (\S+)$", dockerfile(), re.MULTILINE)
    disks = [mount.split(":") for connector in connectors for mount in connector["volumes"]]
    assert [path for _, path in disks] == [state] * len(connectors)
    assert len({name for name, _ in disks}) == len(connectors)
    assert {name for name, _ in disks} < composed["volumes"].keys()
    assert len({connector["ports"][0] for connector in connectors}) == len(connectors)


@pytest.mark.parametrize("name", _CONNECTORS)
def test_a_connector_has_no_rights(name: str) -> None:
    """It runs as in production: on a read-only root, and with no capability."""
    connector = _composed()["services"][name]
    assert connector["read_only"] is True
    assert connector["cap_drop"] == ["ALL"]
    assert connector["security_opt"] == ["no-new-privileges:true"]


@pytest.mark.parametrize("name", _CONNECTORS)
def test_compose_waits_for_a_shutdown(name: str) -> None:
    """A connector that drains as long as it may is not killed while it does."""
    grace = _composed()["services"][name]["stop_grace_period"]
    assert int(grace.removesuffix("s")) > Settings.model_fields["shutdown_timeout_s"].default


def test_nothing_listens_outside_this_machine() -> None:
    """The servers have no passwords, so their ports are open to this machine only."""
    for service in _composed()["services"].values():
        for port in service.get("ports", []):
            assert port.startswith("127.0.0.1:")


def test_what_is_mounted_exists() -> None:
    """Compose makes an empty folder of a file that is missing."""
    mounts = [
        mount.partition(":")[0]
        for service in _composed()["services"].values()
        for mount in service.get("volumes", [])
    ]
    files = [source for source in mounts if source.startswith("./")]
    assert files
    assert all((ROOT / source).is_file() for source in files)
