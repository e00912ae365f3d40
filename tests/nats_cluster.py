"""Three nats-servers that keep a replicated stream together."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from typing import Any

import nats.errors
from tests.deployment import DUPLICATE_WINDOW_S, Deploy, Deployment
from tests.injection.processes import freeze, thaw
from tests.jetstream import ask_jetstream, create_stream
from tests.servers import StartNatsServer
from tests.waiting import wait_until

from mnc.embedded.process import free_port
from mnc.embedded.servers import NatsServerProcess

__all__ = ["NODES", "NatsCluster", "deploy_replicated"]

NODES = ("n1", "n2", "n3")

_START_S = 30.0
_ELECT_S = 20.0
"""An election takes a few seconds, on a busy machine more."""

# Clients are not told of the other nodes, so that they stay behind the proxies that they know.
_CONFIG = """
server_name: {name}
cluster: {{
  name: mnc, listen: "127.0.0.1:{port}", no_advertise: true
  routes: [{routes}]
}}
"""


class NatsCluster:
    """Three nodes, killed, frozen and started again one by one.

    Invariants: a node keeps its name, its ports and its data; what is asked of JetStream is asked
    of the nodes that run.
    """

    def __init__(self, start: StartNatsServer) -> None:
        self._start = start
        ports = {name: free_port() for name in NODES}
        routes = ", ".join(f'"nats://127.0.0.1:{port}"' for port in ports.values())
        self._configs = {
            name: _CONFIG.format(name=name, port=port, routes=routes)
            for name, port in ports.items()
        }
        self._servers = {name: start(extra_config=config) for name, config in self._configs.items()}
        self._away: set[str] = set()
        self._wait_serving()

    @property
    def url(self) -> str:
        """What a client connects to: all nodes."""
        return ",".join(server.url for server in self._servers.values())

    def server(self, name: str) -> NatsServerProcess:
        """Return a node's newest process."""
        return self._servers[name]

    def followers(self, stream: str) -> Sequence[str]:
        """Return the nodes that don't lead the stream; in any order."""
        leader = self.leader(stream)
        return [name for name in NODES if name != leader]

    def leader(self, stream: str) -> str:
        """Wait until a stream has a leader that answers, and return its name."""
        return wait_until(
            lambda: self._leader(stream), timeout_s=_ELECT_S, what=f"a leader of {stream}"
        )

    def wait_replicated(self, stream: str) -> None:
        """Wait until each node has what the leader has, so that any two may be lost in turn.

        JetStream has a leader of its own then too: without one it drops what it is asked for.
        """
        wait_until(
            lambda: self._behind(stream) == [],
            timeout_s=_START_S,
            what=f"the replicas of {stream}",
        )
        wait_until(
            lambda: "streams" in self._ask("STREAM.NAMES"),
            timeout_s=_ELECT_S,
            what="JetStream's own leader",
        )

    def replace_lost(self, stream: str) -> None:
        """Wait as `wait_replicated` does; what takes too long begins anew, with an empty disk.

        A node of version 2.11 that was killed twice may forget that a stream is its own: it calls
        the stream orphaned, removes it, and keeps to that when it is started again.
        """
        try:
            self.wait_replicated(stream)
        except AssertionError:
            for name in self._behind(stream) or ():
                print(f"{name} has lost {stream}")  # noqa: T201 - shown with a failure
                self.stop(name)
                shutil.rmtree(self._servers[name].data_dir)
                self.come_back(name)
            self.wait_replicated(stream)

    def step_down(self, stream: str, *, to: str | None = None) -> None:
        """Let the leader give up its place, to a node of this name if there is one."""
        body = None if to is None else {"placement": {"preferred": to}}
        wait_until(
            lambda: self._ask(f"STREAM.LEADER.STEPDOWN.{stream}", body).get("success"),
            timeout_s=_ELECT_S,
            what=f"the leader of {stream} to step down",
        )

    def lead(self, stream: str, name: str) -> None:
        """Make a node the stream's leader."""

        def leads() -> bool:
            if self.leader(stream) == name:
                return True
            self.step_down(stream, to=name)
            return False

        wait_until(leads, timeout_s=_ELECT_S, what=f"{name} to lead {stream}")

    # --- faults -----------------------------------------------------------------------------------

    def kill(self, name: str) -> None:
        """End a node as a crash would."""
        self._away.add(name)
        self._servers[name].kill()

    def stop(self, name: str) -> None:
        """End a node in an orderly way: it hands its leaderships over."""
        self._away.add(name)
        self._servers[name].stop()

    def freeze(self, name: str) -> None:
        """Let a node stand still, with its connections open."""
        self._away.add(name)
        freeze(self._servers[name])

    def come_back(self, name: str) -> None:
        """Start a node that ended, or let a frozen one go on."""
        server = self._servers[name]
        if server.is_alive:
            thaw(server)
        else:
            self._servers[name] = self._start(
                server.data_dir, port=server.port, extra_config=self._configs[name]
            )
        self._away.discard(name)

    # --- what is asked ----------------------------------------------------------------------------

    def _wait_serving(self) -> None:
        """Wait until JetStream has a leader and knows all nodes, so that it places replicas."""

        def is_serving() -> bool:
            try:
                create_stream(self.url, "probe", duplicate_window_s=1, replicas=len(NODES))
            except (AssertionError, nats.errors.Error):
                return False
            return bool(self._ask("STREAM.DELETE.probe").get("success"))

        wait_until(is_serving, timeout_s=_START_S, what="the cluster to be there")

    def _leader(self, stream: str) -> str:
        """Return the name of the leader, or nothing."""
        leader: str = self._cluster_info(stream).get("leader", "")
        return "" if leader in self._away else leader

    def _behind(self, stream: str) -> Sequence[str] | None:
        """Return the nodes that lack something of what the leader has; None while none leads."""
        replicas = self._cluster_info(stream).get("replicas", ())
        if len(replicas) != len(NODES) - 1:
            return None
        return [each["name"] for each in replicas if not each["current"]]

    def _cluster_info(self, stream: str) -> Mapping[str, Any]:
        info: Mapping[str, Any] = self._ask(f"STREAM.INFO.{stream}").get("cluster", {})
        return info

    def _ask(self, verb: str, body: Mapping[str, object] | None = None) -> dict[str, Any]:
        """Return JetStream's answer; nothing while no leader is there to give one."""
        there = [self._servers[name].url for name in NODES if name not in self._away]
        try:
            return ask_jetstream(",".join(there), verb, body)
        except nats.errors.Error:
            return {}


def deploy_replicated(
    cluster: NatsCluster,
    deploy: Deploy,
    *,
    nats_url: str | None = None,
    duplicate_window_s: float = DUPLICATE_WINDOW_S,
) -> Deployment:
    """Make a deployment whose stream each node of the cluster has.

    Its connectors go to `nats_url` instead of the cluster's own.
    """
    deployment = deploy(
        nats_server=cluster,
        make_stream=False,
        NATS_SERVER_URL=nats_url or cluster.url,
        NATS_ACK_TIMEOUT_S="1",
    )
    create_stream(
        cluster.url,
        deployment.stream,
        duplicate_window_s=duplicate_window_s,
        replicas=len(NODES),
    )
    return deployment
