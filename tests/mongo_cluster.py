"""Three mongods that are one replica set, behind links that only the connector uses.

The nodes know each other by their own addresses, and so do the tests' clients. The connector comes
by TLS to another name, and is told of addresses that are those of the links (MongoDB's split
horizons). So what happens to a link happens to the connector alone: no node notices, and none is
elected for it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from pymongo import MongoClient
from pymongo.errors import PyMongoError
from tests.credentials import Authority
from tests.injection.processes import freeze, thaw
from tests.injection.thread import ThreadedProxy, threaded
from tests.servers import FAIL_POINTS, start_mongod_alone
from tests.waiting import wait_until

from mnc.embedded.process import ServerProcess

__all__ = ["NODES", "MongoCluster", "mongo_cluster"]

NODES = ("n1", "n2", "n3")

_HOST = "127.0.0.1"
_OUTSIDE = "localhost"
_SET_NAME = "mnc"

_ELECT_S = 60.0
"""An election takes two seconds, on a busy machine many more."""

_SETTINGS = {"electionTimeoutMillis": 2000, "heartbeatIntervalMillis": 500}

_STOP_REPLICATION = "stopReplProducer"
"""MongoDB's fail point that keeps a secondary from fetching what the primary has."""

_WAIT_MS = 20_000

_SMALL = (
    *("--wiredTigerEngineConfigString", "log=(prealloc=false,file_max=10MB)"),
    *("--setParameter", "diagnosticDataCollectionEnabled=false"),
    *("--oplogSize", "64"),
)

Document = dict[str, Any]


class MongoCluster:
    """Three nodes, killed, frozen and started again one by one; made by `mongo_cluster`.

    Invariants: a node keeps its name, its ports and its data; all that is asked of the set is asked
    of the nodes that run.
    """

    def __init__(self, folder: Path, cleanup: ExitStack) -> None:
        authority = Authority(folder / "authority")
        certificate = authority.issue(_OUTSIDE).in_one_file()
        self._args = (
            *("--replSet", _SET_NAME, *_SMALL, *FAIL_POINTS),
            *("--tlsMode", "allowTLS", "--tlsCertificateKeyFile", str(certificate)),
            *("--tlsCAFile", str(authority.path), "--tlsAllowConnectionsWithoutCertificates"),
        )
        self._ca = authority.path
        self._servers: dict[str, ServerProcess] = {}
        cleanup.callback(self._kill_all)
        for name in NODES:
            self._servers[name] = start_mongod_alone(folder / name, 0, *self._args)
        self.links: Mapping[str, ThreadedProxy] = {
            name: cleanup.enter_context(threaded(self._servers[name].port)) for name in NODES
        }
        """The connector's ways to the nodes."""
        self._away: set[str] = set()
        self._initiate()
        self.wait_whole()

    @property
    def uri(self) -> str:
        """The connection string for the tests' own clients, which don't wait long for who is away.

        It has no database.
        """
        hosts = ",".join(f"{_HOST}:{server.port}" for server in self._servers.values())
        patience = "heartbeatFrequencyMS=1000&connectTimeoutMS=3000&serverSelectionTimeoutMS=60000"
        return f"mongodb://{hosts}/?replicaSet={_SET_NAME}&{patience}"

    def outside_uri(self, database: str) -> str:
        """Return the connection string for the connector."""
        hosts = ",".join(f"{_OUTSIDE}:{link.port}" for link in self.links.values())
        tls = f"tls=true&tlsCAFile={self._ca}"
        # As applications have it; the connector keeps to the primary, majorities and its own times.
        reading = "readPreference=secondary&readConcernLevel=local&timeoutMS=100"
        others = f"{reading}&socketTimeoutMS=100&w=1"
        options = f"replicaSet={_SET_NAME}&{tls}&{others}"
        return f"mongodb://{hosts}/{database}?{options}"

    def primary(self) -> str:
        """Wait until a node that runs is the primary, and return its name."""
        return wait_until(self._primary, timeout_s=_ELECT_S, what="a primary")

    def secondaries(self) -> Sequence[str]:
        """Return the nodes that are not the primary; in any order."""
        primary = self.primary()
        return [name for name in NODES if name != primary]

    def wait_whole(self) -> None:
        """Wait until each node has what the primary has, so that any may be lost."""

        def is_whole() -> bool:
            with self.connected(self.primary()) as client:
                members = client.admin.command("replSetGetStatus")["members"]
            newest = max(member["optime"]["ts"] for member in members if "optime" in member)
            return all(
                member["stateStr"] in {"PRIMARY", "SECONDARY"}
                and newest.time - member["optime"]["ts"].time <= 1
                for member in members
            )

        def asked() -> bool:
            try:
                return is_whole()
            except PyMongoError:
                return False

        wait_until(asked, timeout_s=_ELECT_S, what="the replica set to be whole")

    # --- faults -----------------------------------------------------------------------------------

    def step_down(self) -> None:
        """Let the primary give up its place, and not stand for election for some seconds."""

        def has_stepped_down() -> bool:
            with self.connected(self.primary()) as client:
                try:
                    client.admin.command({"replSetStepDown": 3, "secondaryCatchUpPeriodSecs": 2})
                except PyMongoError:  # nobody was as far in time, or may stand for election yet
                    return False
            return True

        wait_until(has_stepped_down, timeout_s=_ELECT_S, what="the primary to step down")

    def kill(self, name: str) -> None:
        """End a node as a crash would."""
        self._away.add(name)
        self._servers[name].kill()

    def freeze(self, name: str) -> None:
        """Let a node stand still, with its connections open."""
        self._away.add(name)
        freeze(self._servers[name])

    def come_back(self, name: str) -> None:
        """Start a node that was killed, or let a frozen one go on."""
        server = self._servers[name]
        if server.is_alive:
            thaw(server)
        else:
            self._servers[name] = start_mongod_alone(server.data_dir, server.port, *self._args)
        self._away.discard(name)

    @contextmanager
    def replication_stopped(self) -> Iterator[None]:
        """Keep the secondaries, who go on voting, from getting what is written meanwhile."""
        with ExitStack() as clients:
            secondaries = [
                clients.enter_context(self.connected(name)) for name in self.secondaries()
            ]
            for client in secondaries:
                _set_fail_point(client, "alwaysOn")
            try:
                for client in secondaries:
                    client.admin.command(
                        {
                            "waitForFailPoint": _STOP_REPLICATION,
                            "timesEntered": 1,
                            "maxTimeMS": _WAIT_MS,
                        }
                    )
                yield
            finally:
                for client in secondaries:
                    _set_fail_point(client, "off")

    # --- what is asked ----------------------------------------------------------------------------

    @contextmanager
    def connected(self, name: str) -> Iterator[MongoClient[Document]]:
        """Connect to one node, whatever it is in the set."""
        with MongoClient[Document](
            _HOST,
            self._servers[name].port,
            directConnection=True,
            serverSelectionTimeoutMS=2000,
            socketTimeoutMS=_WAIT_MS,
        ) as client:
            yield client

    def _kill_all(self) -> None:
        for server in self._servers.values():
            server.kill()

    def _primary(self) -> str:
        """Return the name of the primary, or nothing."""
        for name in NODES:
            if name in self._away:
                continue
            try:
                with self.connected(name) as client:
                    if client.admin.command("hello")["isWritablePrimary"]:
                        return name
            except PyMongoError:
                continue
        return ""

    def _initiate(self) -> None:
        members = [
            {
                "_id": number,
                "host": f"{_HOST}:{self._servers[name].port}",
                "horizons": {"outside": f"{_OUTSIDE}:{self.links[name].port}"},
            }
            for number, name in enumerate(NODES)
        ]
        config = {"_id": _SET_NAME, "members": members, "settings": _SETTINGS}
        with self.connected(NODES[0]) as client:
            client.admin.command("replSetInitiate", config)


@contextmanager
def mongo_cluster(folder: Path) -> Iterator[MongoCluster]:
    """Run three nodes, whose data is in `folder`."""
    folder.mkdir()
    with ExitStack() as cleanup:
        yield MongoCluster(folder, cleanup)


def _set_fail_point(client: MongoClient[Document], mode: str) -> None:
    client.admin.command({"configureFailPoint": _STOP_REPLICATION, "mode": mode})
