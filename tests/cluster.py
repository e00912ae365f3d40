"""A cluster under test: several connectors of one deployment that elect who works."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from pathlib import Path
from typing import Any, Final

import httpx
from tests.connector import ConnectorProcess
from tests.deployment import Deployment
from tests.waiting import wait_until

__all__ = ["SIZE", "Cluster"]

SIZE: Final = 3

_FORMED_S = 60.0


class Cluster:
    """Instances by number, from 0; each has a name, a folder and, once started, a process.

    `settings` are those of all instances; `own` adds to them by instance.
    """

    def __init__(
        self,
        deployment: Deployment,
        *,
        folder: Path,
        instances: int = SIZE,
        own: Mapping[int, Mapping[str, str]] | None = None,
    ) -> None:
        self.deployment = deployment
        self.instances: dict[int, ConnectorProcess] = {}
        self.runs: list[ConnectorProcess] = []
        """Every process of an instance so far."""
        self._folder = folder
        self._own = own or {}
        for number in range(instances):
            self.start(number)

    # --- what is done to it ----------------------------------------------------------------------

    def start(self, number: int) -> ConnectorProcess:
        """Start an instance, on the disk that it had before."""
        instance = self.deployment.start(
            RAFT_CLUSTER_SIZE=str(SIZE),
            RAFT_CLUSTER_NAME=self.deployment.stream,
            RAFT_NODE_NAME=f"mnc-{number}",
            RAFT_LOG_PATH=str(self._path(number)),
            **self._own.get(number, {}),
        )
        self.instances[number] = instance
        self.runs.append(instance)
        return instance

    def kill(self, number: int) -> None:
        """Kill an instance."""
        self.instances.pop(number).kill()

    def stop(self, number: int) -> None:
        """Let an instance end as SIGTERM does."""
        assert self.instances.pop(number).terminate() == 0

    def wipe(self, number: int) -> None:
        """Remove the disk of an instance that doesn't run."""
        assert number not in self.instances
        shutil.rmtree(self._path(number))

    # --- what it says ----------------------------------------------------------------------------

    def status(self, number: int) -> Mapping[str, Any]:
        """Return what an instance knows of the cluster; nothing when it doesn't say."""
        try:
            status: Mapping[str, Any] = self.instances[number].get("/status").json()["cluster"]
        except httpx.TransportError:
            return {}
        return status

    def leader(self) -> int:
        """Return the number of the leader, as soon as there is one that others know too."""
        found: list[int] = []

        def elect() -> bool:
            statuses = {number: self.status(number) for number in self.instances}
            leaders = {status.get("leader") for status in statuses.values()}
            found[:] = [
                number
                for number, status in statuses.items()
                if status and leaders == {status["node"]}
            ]
            return bool(found)

        wait_until(elect, timeout_s=_FORMED_S, what="a leader that all know")
        return found[0]

    def owners(self) -> Mapping[str, int]:
        """Return who captures which collection, by what each instance says of itself."""
        return {
            lane["collection"].partition(".")[2]: number
            for number, instance in self.instances.items()
            for lane in instance.get("/status").json()["collections"]
            if lane["state"] == "capturing"
        }

    def wait_working(self, *, timeout_s: float = _FORMED_S) -> None:
        """Wait until every collection is captured by one instance, and all are ready."""

        def is_working() -> bool:
            captured = [
                lane["collection"]
                for instance in self.instances.values()
                for lane in instance.get("/status").json()["collections"]
                if lane["state"] == "capturing"
            ]
            return len(captured) == len(set(captured)) == len(self.deployment.collections) and all(
                not instance.reasons() for instance in self.instances.values()
            )

        wait_until(is_working, timeout_s=timeout_s, what="each collection to have one owner")

    def assignments(self) -> int:
        """Return how often any process was told of a change of what it has to work on."""
        return sum(len(run.log("cluster.assigned")) for run in self.runs)

    def voters(self) -> AbstractSet[int]:
        """Return those who run and vote, as the leader sees it."""
        members = self.status(self.leader()).get("members", ())
        voting = {member["node"] for member in members if member["votes"]}
        return {number for number in self.instances if self.status(number).get("node") in voting}

    def wait_whole(self) -> None:
        """Wait until as many vote who run as the size: from then on any one may be lost."""
        wait_until(
            lambda: len(self.voters()) == SIZE, timeout_s=_FORMED_S, what="all who run to vote"
        )

    def groups_entered(self) -> Sequence[str]:
        """Return the groups that any process has ever entered, each once."""
        return sorted({line["group"] for run in self.runs for line in run.log("cluster.entered")})

    def _path(self, number: int) -> Path:
        return self._folder / f"{self.deployment.stream}-raft-{number}"
