"""The scripts: no lint, and what those for a local cluster do with the programs that they call."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest
from tests.deploy.checkout import ROOT, linter

# A stand-in for a program: it writes down what it was called with, and fails or answers as told by
# a file of that name.
_STAND_IN = """#!/bin/sh
echo "${0##*/} $*" >>"$CALLS"
name="${0##*/} $*"
while IFS='|' read -r prefix code answer; do
    case "$name" in "$prefix"*)
        [ -z "$answer" ] || echo "$answer"
        exit "$code" ;;
    esac
done <"$ANSWERS"
"""


def _run(
    script: str,
    *arguments: str,
    folder: Path,
    programs: Sequence[str],
    answers: Sequence[tuple[str, int, str]] = (),
    environ: Mapping[str, str] | None = None,
) -> tuple[subprocess.CompletedProcess[str], list[str]]:
    """Run a script where only `programs` are installed; return its end and its calls of them.

    `answers` are for the calls that begin so: an exit code, and a line of output. Others succeed.
    """
    stand_ins = folder / "programs"
    stand_ins.mkdir()
    for name in programs:
        (stand_ins / name).write_text(_STAND_IN)
        (stand_ins / name).chmod(0o755)
    calls, told = folder / "calls", folder / "answers"
    calls.touch()
    told.write_text("".join(f"{prefix}|{code}|{line}\n" for prefix, code, line in answers))
    done = subprocess.run(
        [ROOT / ".scripts" / script, *arguments],
        env={
            "PATH": f"{stand_ins}{os.pathsep}/usr/bin{os.pathsep}/bin",
            "CALLS": str(calls),
            "ANSWERS": str(told),
            **(environ or {}),
        },
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        check=False,
    )
    return done, calls.read_text().splitlines()


_CLUSTER = ["docker", "kind", "kubectl"]
_NEW = [("docker start", 1, ""), ("kind get nodes", 0, "mnc-control-plane")]


@pytest.mark.parametrize(
    "path",
    [path for folder in (".scripts", ".ci") for path in sorted((ROOT / folder).iterdir())],
    ids=lambda path: path.name,
)
def test_scripts_have_no_lint(path: Path) -> None:
    """A script can be run as it is, and shellcheck finds nothing in it."""
    linted = subprocess.run(
        [linter("shellcheck"), path], capture_output=True, text=True, check=False
    )
    assert linted.returncode == 0, linted.stdout
    assert os.access(path, os.X_OK)


def test_a_cluster_is_made_with_its_registry(tmp_path: Path) -> None:
    """The nodes know the registry under the name that images are pushed to on this machine."""
    done, calls = _run("cluster_create.sh", folder=tmp_path, programs=_CLUSTER, answers=_NEW)
    assert done.returncode == 0, done.stderr
    started = [call for call in calls if call.startswith("docker run")]
    assert len(started) == 1
    assert "--publish 127.0.0.1:5001:5000" in started[0]
    assert "kind create cluster --name mnc --wait 120s" in calls
    hosts = "/etc/containerd/certs.d/localhost:5001"
    assert f"docker exec mnc-control-plane mkdir -p {hosts}" in calls
    assert "docker network connect kind mnc-registry" in calls
    assert calls[-1].startswith("kubectl --context kind-mnc apply")


def test_a_cluster_that_is_there_is_left_alone(tmp_path: Path) -> None:
    """Running the script again makes no second registry and no second cluster."""
    done, calls = _run(
        "cluster_create.sh",
        folder=tmp_path,
        programs=_CLUSTER,
        answers=[("kind get", 0, "mnc"), ("docker inspect", 0, "kind")],
    )
    assert done.returncode == 0, done.stderr
    for made in ("docker run", "kind create", "docker network connect"):
        assert not [call for call in calls if call.startswith(made)]


def test_deleting_takes_the_registry_along(tmp_path: Path) -> None:
    """Nothing of the cluster is left on this machine."""
    done, calls = _run("cluster_delete.sh", folder=tmp_path, programs=["docker", "kind"])
    assert done.returncode == 0, done.stderr
    assert calls == [
        "kind delete cluster --name mnc",
        "docker rm --force --volumes mnc-registry",
    ]


@pytest.mark.parametrize(
    ("script", "missing"),
    [
        ("cluster_create.sh", "kind"),
        ("cluster_delete.sh", "kind"),
        ("init_mongo.sh", "mongosh"),
        ("init_nats.sh", "nats"),
    ],
)
def test_a_missing_program_is_named(script: str, missing: str, tmp_path: Path) -> None:
    """A script says what to install before it has changed anything."""
    done, calls = _run(script, folder=tmp_path, programs=["docker", "kubectl"])
    assert done.returncode == 1
    assert f"mnc: {missing} is not on PATH" in done.stderr
    assert calls == []


def test_the_stream_is_made_as_the_connector_needs_it(tmp_path: Path) -> None:
    """It takes atomic batches, drops nothing to make room, and has the operator's own limits."""
    done, calls = _run(
        "init_nats.sh",
        "--replicas=3",
        folder=tmp_path,
        programs=["nats"],
        environ={"NATS_STREAM_NAME": "shop"},
    )
    assert done.returncode == 0, done.stderr
    server = "nats --server nats://127.0.0.1:4222"
    listed, added = calls
    assert listed == f"{server} stream list --names --all"
    assert added.split() == [
        *f"{server} stream add shop".split(),
        "--subjects=shop.*.*.*,shop_position.*,shop_deadletter.*",
        *("--storage=file", "--retention=limits", "--discard=new"),
        *("--allow-batch", "--allow-rollup", "--allow-msg-ttl"),
        *("--defaults", "--replicas=3"),
    ]


def test_a_stream_that_is_there_is_left_alone(tmp_path: Path) -> None:
    """An operator's settings stay."""
    listed = [("nats --server nats://127.0.0.1:4222 stream list", 0, "cs")]
    done, calls = _run("init_nats.sh", folder=tmp_path, programs=["nats"], answers=listed)
    assert done.returncode == 0, done.stderr
    assert len(calls) == 1


def test_a_server_that_is_away_is_no_missing_stream(tmp_path: Path) -> None:
    """The script fails as the program does, and makes nothing."""
    away = [("nats --server nats://127.0.0.1:4222 stream list", 1, "")]
    done, calls = _run("init_nats.sh", folder=tmp_path, programs=["nats"], answers=away)
    assert done.returncode == 1
    assert len(calls) == 1


def test_collections_are_made_on_the_server_that_is_named(tmp_path: Path) -> None:
    """The address is where the shell connects to, past a replica set that there isn't yet."""
    done, calls = _run("init_mongo.sh", "db:27017", folder=tmp_path, programs=["mongosh"])
    assert done.returncode == 0, done.stderr
    assert calls[0].startswith("mongosh --quiet mongodb://db:27017/test?directConnection=true")
