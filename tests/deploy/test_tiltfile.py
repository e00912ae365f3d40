"""The Tiltfile, played by an interpreter of its language with Tilt's functions recorded."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping
from typing import Any

import pytest
import starlark
from tests.deploy.checkout import ROOT
from tests.deploy.manifests import rendered

Calls = Mapping[str, list[tuple[tuple[Any, ...], Mapping[str, Any]]]]

_TILT = ["docker_build", "k8s_resource", "k8s_yaml", "local_resource"]

# What Starlark calls a struct: Tilt's `config`, of the two recorded functions.
_CONFIG = "config = struct(define_bool = config_define_bool, parse = config_parse)\n"


def _played(**flags: bool) -> Calls:
    """Return which functions the Tiltfile calls, and with what, under the flags of `tilt up --`."""
    calls: Calls = defaultdict(list)
    module = starlark.Module()

    def record(name: str) -> Callable[..., None]:
        def recorded(*positional: Any, **named: Any) -> None:
            calls[name].append((positional, named))

        return recorded

    def parse() -> Mapping[str, bool]:
        defined = {positional[0] for positional, _ in calls["config_define_bool"]}
        given = {name.replace("_", "-"): value for name, value in flags.items()}
        assert given.keys() <= defined  # Tilt refuses others
        return given

    for name in [*_TILT, "config_define_bool"]:
        module.add_callable(name, record(name))
    module.add_callable("config_parse", parse)
    module.add_callable("kustomize", lambda folder: folder)
    dialect = starlark.Dialect.standard()
    dialect.enable_top_level_stmt = True  # as Tilt has it
    starlark.eval(
        module,
        starlark.parse("Tiltfile", _CONFIG + (ROOT / "Tiltfile").read_text(), dialect),
        starlark.Globals.extended_by([starlark.LibraryExtension.StructType]),
    )
    return calls


def _deployed(calls: Calls) -> str:
    """Return the folder of .k8s whose manifests are deployed."""
    (((folder,), _),) = calls["k8s_yaml"]
    return str(folder).removeprefix(".k8s/")


@pytest.mark.parametrize("only_infra", [True, False])
def test_every_resource_is_in_the_manifests(only_infra: bool) -> None:
    """Tilt refuses a name, a dependency or an image that it doesn't find."""
    calls = _played(only_infra=only_infra)
    manifests = rendered(_deployed(calls))
    workloads = [item for item in manifests if item["kind"] == "StatefulSet"]
    resources = {positional[0] for positional, _ in calls["k8s_resource"]}
    assert resources == {item["metadata"]["name"] for item in workloads}
    known = resources | {positional[0] for positional, _ in calls["local_resource"]}
    for _, named in calls["k8s_resource"] + calls["local_resource"]:
        assert set(named.get("resource_deps", [])) <= known
    images = {
        container["image"].partition(":")[0]
        for item in workloads
        for container in item["spec"]["template"]["spec"]["containers"]
    }
    assert {positional[0] for positional, _ in calls["docker_build"]} <= images


def test_a_connector_is_built_and_started() -> None:
    """`tilt up` has everything."""
    calls = _played()
    assert _deployed(calls) == "overlays/local"
    assert [positional for positional, _ in calls["docker_build"]] == [("mnc", ".")]


def test_only_infra_starts_no_connector() -> None:
    """`tilt up -- --only-infra` has the servers for a connector that runs outside."""
    calls = _played(only_infra=True)
    assert _deployed(calls) == "infra"
    assert calls["docker_build"] == []


def test_ports_are_open_to_this_machine_only() -> None:
    """The servers have no passwords."""
    forwards = [
        forward
        for _, named in _played()["k8s_resource"]
        for forward in named.get("port_forwards", [])
    ]
    assert len(forwards) == 3
    assert all(forward.startswith("127.0.0.1:") for forward in forwards)


def test_files_that_tilt_runs_exist() -> None:
    """What is watched for changes is there, and is what the command runs."""
    ((_, named),) = _played()["local_resource"]
    for path in named["deps"]:
        assert (ROOT / path).is_file()
        assert path in named["cmd"]
