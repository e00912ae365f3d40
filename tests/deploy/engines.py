"""What builds and runs the image in tests: Docker, or buildah where no engine runs."""

from __future__ import annotations

import fcntl
import json
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

from tests.deploy.checkout import ROOT, dockerfile

__all__ = ["Engine", "NoEngineError", "base_image", "built_image"]

_IMAGE = "mnc:test"


class NoEngineError(Exception):
    """Nothing here can build the image; the text says what is missing."""


class Engine(Protocol):
    """An image that was built, and how it is run."""

    @property
    def config(self) -> Mapping[str, Any]:
        """The image's configuration, as Docker has it."""
        ...

    def command(self, arguments: Sequence[str], *, environ: Mapping[str, str]) -> list[str]:
        """Return a command that runs `arguments` in a container, as the process itself.

        The container has the image's user, environment and an empty volume, a root file system that
        can't be written to, and this machine's network.
        """
        ...


class _Docker:
    def __init__(self) -> None:
        _build(["docker", "build", "--tag", _IMAGE, str(ROOT)])
        (described,) = json.loads(_run(["docker", "image", "inspect", _IMAGE]))
        self.config: Mapping[str, Any] = described["Config"]

    def command(self, arguments: Sequence[str], *, environ: Mapping[str, str]) -> list[str]:
        settings = [f"--env={name}={value}" for name, value in environ.items()]
        flags = ["--rm", "--init=false", "--read-only", "--network=host", "--entrypoint="]
        return ["docker", "run", *flags, *settings, _IMAGE, *arguments]


# As root in a mount namespace of its own, which ends with the process: buildah has no container
# with a root that is read-only when it isolates by chroot alone. The volume has the owner that its
# folder has in the image, as with Docker.
_ENTER = """
root="$1" user="$2" volume="$3"
shift 3
mount --bind "$root" "$root"
mount --bind /dev "$root/dev"
mount -t proc proc "$root/proc"
owner="$(stat --format=uid=%u,gid=%g,mode=%a "$root$volume")"
mount -t tmpfs -o "$owner" tmpfs "$root$volume"
mount -o remount,ro,bind "$root"
exec chroot --userspec="$user" "$root" "$@"
"""


class _Buildah:
    def __init__(self, mounted: Path, config: Mapping[str, Any]) -> None:
        self._mounted = mounted
        self.config = config

    def command(self, arguments: Sequence[str], *, environ: Mapping[str, str]) -> list[str]:
        (volume,) = self.config["Volumes"]
        settings = [f"{name}={value}" for name, value in environ.items()]
        place = [str(self._mounted), self.config["User"], volume]
        inside = ["env", "-i", *self.config["Env"], *settings, *arguments]
        return ["unshare", "--mount", "sh", "-euc", _ENTER, "sh", *place, *inside]


@contextmanager
def built_image() -> Iterator[Engine]:
    """Build the image, from the cache where nothing has changed. Raises NoEngineError."""
    if shutil.which("docker") and _succeeds(["docker", "info"]):
        yield _Docker()
        return
    if not shutil.which("buildah"):
        raise NoEngineError("neither a Docker engine nor buildah is here")
    if os.geteuid() != 0 or not _succeeds(["unshare", "--mount", "true"]):
        raise NoEngineError("buildah is used as root, with mount namespaces")
    if not _succeeds(["buildah", "inspect", "--type", "image", base_image()]):
        raise NoEngineError(f"buildah has no {base_image()}; .scripts/base_image makes one")
    build = ["--layers", "--pull-never", "--isolation", "chroot", "--format", "docker"]
    _build(["buildah", "build", *build, "--tag", _IMAGE, str(ROOT)])
    config = json.loads(_run(["buildah", "inspect", "--type", "image", _IMAGE]))["Docker"]["config"]
    container = _run(["buildah", "from", "--pull-never", _IMAGE])
    try:
        yield _Buildah(Path(_run(["buildah", "mount", container])), config)
    finally:
        _run(["buildah", "rm", container])


def base_image() -> str:
    """Return the name of the image that the Dockerfile begins with."""
    (name,) = set(re.findall(r"^FROM (\S+)", dockerfile(), re.MULTILINE))
    return str(name)


def _build(command: Sequence[str]) -> None:
    # One at a time, so that of two workers of pytest the second takes all from the cache.
    with (Path(tempfile.gettempdir()) / "mnc-test-image.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        _run(command)


def _succeeds(command: Sequence[str]) -> bool:
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


def _run(command: Sequence[str]) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout.strip()
