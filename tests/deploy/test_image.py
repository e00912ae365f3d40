"""The image: what the Dockerfile says, and what is built from it."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from pymongo import MongoClient
from tests.connector import ConnectorProcess
from tests.deploy.checkout import ROOT, dockerfile, linter
from tests.deploy.engines import Engine, NoEngineError, base_image, built_image
from tests.waiting import wait_until

from mnc.embedded.servers import MongodProcess, NatsServerProcess


def _health_check() -> Sequence[str]:
    """Return the command that asks a container how it is."""
    (line,) = re.findall(r"^HEALTHCHECK .*? CMD (\[.*\])$", dockerfile(), re.MULTILINE)
    return [str(word) for word in json.loads(line)]


@pytest.fixture(scope="module")
def image() -> Iterator[Engine]:
    """Build the image."""
    try:
        with built_image() as engine:
            yield engine
    except NoEngineError as error:
        pytest.skip(f"the image is not built: {error}")


def test_the_dockerfile_has_no_lint() -> None:
    """hadolint, which knows the mistakes that others made, finds nothing."""
    linted = subprocess.run(
        [linter("hadolint"), "Dockerfile"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert linted.returncode == 0, linted.stdout + linted.stderr


def test_every_stage_has_the_same_base_with_a_version() -> None:
    """The packages are built for the Python that runs them, which no rebuild changes unasked."""
    name, _, tag = base_image().partition(":")
    assert name == "python"
    assert re.fullmatch(r"3\.1[1-3]-slim-[a-z]+", tag)


def test_packages_come_from_locks_with_hashes() -> None:
    """Whatever pip installs was pinned by its hash, or is mnc itself without what it depends on."""
    installs = re.findall(r"pip [^&]*?\binstall ([^&\n]+)", dockerfile())
    assert len(installs) == 3
    assert all("--require-hashes" in line or "--no-deps" in line for line in installs)


def test_the_builder_gets_what_the_dockerfile_copies() -> None:
    """No secret and no build of another machine gets into a layer, and nothing is missing."""
    copied = re.findall(r"^COPY (?!--from)(.+) \S+$", dockerfile(), re.MULTILINE)
    sources = {source for line in copied for source in line.split()}
    ignored = (ROOT / ".dockerignore").read_text().splitlines()
    assert "*" in ignored
    assert {line.removeprefix("!") for line in ignored if line.startswith("!")} == sources


def test_the_health_check_tells_a_live_connector(tmp_path: Path) -> None:
    """It passes while /livez answers, although no server does, and fails when nobody answers."""
    connector = ConnectorProcess(
        {
            "MONGO_URI": "mongodb://127.0.0.1:1/test",
            "MONGO_WATCH_COLLECTIONS": "users",
            "NATS_SERVER_URL": "nats://127.0.0.1:1",
        },
        log_path=tmp_path / "connector.log",
    )
    try:
        port = connector.wait_for_log("service.started")[0]["http_port"]
        assert _ask(port) == 0
    finally:
        connector.kill()
    assert _ask(port) != 0


def _ask(port: int) -> int:
    python, *arguments = _health_check()
    assert python == "python"
    proxy = "http://127.0.0.1:1"  # it must not be asked for this machine's own port
    asked = subprocess.run(
        [sys.executable, *arguments],
        env={"HTTP_PORT": str(port), "http_proxy": proxy},
        capture_output=True,
        check=False,
    )
    return asked.returncode


def test_the_image_says_how_it_runs(image: Engine) -> None:
    """A platform reads off it the user, the volume, the port, the health check and the labels."""
    config = image.config
    assert config["User"] == "10001:10001"
    assert list(config["Volumes"]) == ["/var/lib/mnc"]
    assert list(config["ExposedPorts"]) == ["3000/tcp"]
    assert config["Healthcheck"]["Test"] == ["CMD", *_health_check()]
    assert config["StopSignal"] == "SIGTERM"
    assert [*config["Entrypoint"], *config["Cmd"]] == ["mnc", "serve"]
    labels = {name for name in config["Labels"] if name.startswith("org.opencontainers.image.")}
    assert {name.rpartition(".")[2] for name in labels} == {
        "title",
        "description",
        "licenses",
        "version",
        "revision",
    }


_WRITE = """
import os, pathlib, sys
for folder in sys.argv[1:]:
    try:
        pathlib.Path(folder, "written").touch()
    except OSError:
        continue
    print(folder)
print(os.getuid())
"""


def test_only_the_volume_can_be_written_to(image: Engine) -> None:
    """The user of the image has the rights for its state, and for nothing else."""
    folders = ["/app", "/app/lib", "/etc", "/tmp", "/var/lib/mnc"]  # noqa: S108 - in the container
    written = subprocess.run(
        image.command(["python", "-c", _WRITE, *folders], environ={}),
        capture_output=True,
        text=True,
        check=True,
    )
    assert written.stdout.split() == ["/var/lib/mnc", "10001"]


def test_the_image_has_nothing_that_only_building_needs(image: Engine) -> None:
    """Neither pip nor the build backend is among what runs."""
    found = subprocess.run(
        image.command(["sh", "-c", "ls /app/bin /app/lib/python*/site-packages"], environ={}),
        capture_output=True,
        text=True,
        check=True,
    )
    names = found.stdout.split()
    assert {"mnc", "trio"} <= set(names)
    assert not [name for name in names if name.startswith(("pip", "hatchling", "pytest"))]


def test_the_image_serves_and_ends_at_sigterm(
    image: Engine,
    mongod: MongodProcess,
    nats_server: NatsServerProcess,
    database: str,
    tmp_path: Path,
) -> None:
    """Events arrive from a container without rights, and its end is a clean one."""
    settings = {
        "MONGO_URI": mongod.database_uri(database),
        "MONGO_WATCH_COLLECTIONS": "users",
        "NATS_SERVER_URL": nats_server.url,
        "NATS_STREAM_NAME": f"cs_{database}",
        "RAFT_CLUSTER_SIZE": "1",
        "HTTP_PORT": "0",
    }
    connector = ConnectorProcess(
        {},
        log_path=tmp_path / "connector.log",
        command=image.command(["mnc", "serve"], environ=settings),
    )
    try:
        connector.wait_ready()
        with MongoClient[dict[str, Any]](mongod.uri) as client:
            client[database]["users"].insert_one({"name": "Ada"})
        wait_until(
            lambda: connector.counted("events_published") == 1,
            timeout_s=20,
            what="the event to be stored",
        )
        assert connector.terminate() == 0
    finally:
        connector.kill()
