"""What MongoDB says of itself, for `mnc check`. Nothing is changed.

What the connector's user isn't allowed to ask stays unknown; what the connector needs is tried the
way that the connector does it.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from itertools import product
from typing import Any

import pymongo
import trio
from bson.codec_options import CodecOptions
from bson.timestamp import Timestamp
from pymongo.errors import OperationFailure, PyMongoError

from mnc.capture.options import CaptureOptions
from mnc.drivers.mongo.changes import MongoChangeSource
from mnc.drivers.mongo.checkpoints import MongoCheckpointStore, StreamOf
from mnc.drivers.mongo.connection import MongoConnection
from mnc.drivers.mongo.databases import missing_databases
from mnc.drivers.mongo.failures import NOT_INITIATED, source_error
from mnc.errors import CheckpointError, SourceError, SourceRefusedError, SourceUnavailableError
from mnc.model import Checkpoint, ClusterTime, Namespace
from mnc.preflight.facts import MongoFacts, OplogFacts, Privilege, Topology

__all__ = ["inspect_mongo"]

_Document = dict[str, Any]

_AWARE: CodecOptions[_Document] = CodecOptions(tz_aware=True)

_SLACK_S = 1.0
"""What pymongo's own deadline doesn't bound, such as the look-up of a name, gets no longer."""


async def inspect_mongo(
    connection: MongoConnection,
    *,
    databases: Sequence[str],
    watched: Sequence[str],
    options: Collection[CaptureOptions],
    tokens_collection: str,
    stream_of: StreamOf,
    timeout_s: float,
) -> MongoFacts:
    """Collect the facts about MongoDB, in `timeout_s` seconds at the most.

    `databases` have something to watch, and `watched` are the keys of collections. `options` are
    what change streams are opened with, in each database.

    Raises SourceError when it can't be reached, refuses the login, or doesn't answer in time.

    Cancellation: takes effect when the question that is being asked has its answer.
    """
    inspection = _Inspection(
        connection,
        databases=databases,
        watched=watched,
        options=options,
        tokens_collection=tokens_collection,
        stream_of=stream_of,
    )
    with trio.move_on_after(timeout_s + _SLACK_S), pymongo.timeout(timeout_s):
        # First, because this question alone can be abandoned.
        await connection.check()
        return await inspection.run()
    raise SourceUnavailableError(f"MongoDB doesn't answer within {timeout_s:g} s")


class _Inspection:
    """The questions that one run of `mnc check` asks."""

    def __init__(
        self,
        connection: MongoConnection,
        *,
        databases: Sequence[str],
        watched: Sequence[str],
        options: Collection[CaptureOptions],
        tokens_collection: str,
        stream_of: StreamOf,
    ) -> None:
        self._connection = connection
        self._client = connection.client
        self._database = connection.database
        self._databases = databases
        self._watched = {key: Namespace.of(key, home=connection.database.name) for key in watched}
        self._options = options
        self._tokens_collection = tokens_collection
        self._stream_of = stream_of

    async def run(self) -> MongoFacts:
        try:
            facts = await self._connection.run(self._collect)
        except PyMongoError as error:
            raise source_error(error) from error
        # At the end what may take all the time that is left, as without a majority.
        return replace(
            facts, checkpoints=await self._checkpoints(), stream_errors=await self._stream_errors()
        )

    async def _stream_errors(self) -> Mapping[str, SourceError]:
        """Open each kind of change stream the way the connector does, and close it."""
        errors = {}
        for database, options in product(self._databases, self._options):
            source = MongoChangeSource(
                self._connection, options=replace(options, database=database)
            )
            try:
                await source.current_token()
            except SourceError as error:
                errors[database] = error
        return errors

    async def _checkpoints(self) -> Mapping[str, Checkpoint] | CheckpointError:
        store = MongoCheckpointStore(
            self._connection, collection=self._tokens_collection, stream_of=self._stream_of
        )
        found = {}
        try:
            for key, namespace in self._watched.items():
                checkpoint = await store.load(namespace)
                if checkpoint is not None:
                    found[key] = checkpoint
        except CheckpointError as error:
            return error
        return found

    # --- in the thread --------------------------------------------------------------------------

    def _collect(self) -> MongoFacts:
        asked_at_s = time.time()
        hello = self._client.admin.command("hello", codec_options=_AWARE)
        answered_at_s = time.time()
        topology = _topology(hello)
        status = self._status() if topology == "replica set" else None
        return MongoFacts(
            address=self._address(hello),
            version=tuple(self._client.admin.command("buildInfo")["versionArray"][:3]),
            topology=topology,
            set_name=hello.get("setName", ""),
            is_writable=hello["isWritablePrimary"],
            majority_lag_s=_majority_lag_s(hello),
            members=status and {member["name"]: member["stateStr"] for member in status["members"]},
            write_majority=status["writeMajorityCount"] if status else 0,
            database=self._database.name,
            databases=self._databases,
            missing_databases=missing_databases(self._client, self._databases),
            watched=tuple(self._watched),
            kinds=self._kinds(),
            tokens_collection=self._tokens_collection,
            privileges=self._privileges(),
            oplog=self._oplog() if topology == "replica set" else None,
            cluster_time=_cluster_time(hello.get("operationTime")),
            clock_ahead_s=hello["localTime"].timestamp() - (asked_at_s + answered_at_s) / 2,
            round_trip_s=answered_at_s - asked_at_s,
        )

    def _address(self, hello: _Document) -> str:
        """Return where the answers come from; a member of a replica set says it itself."""
        nodes = sorted(f"{host}:{port}" for host, port in self._client.nodes)
        return str(hello.get("me", ", ".join(nodes)))

    def _status(self) -> _Document | None:
        try:
            return self._client.admin.command("replSetGetStatus")
        except OperationFailure:
            return None

    def _kinds(self) -> Mapping[str, str] | None:
        kinds: dict[str, str] = {}
        for database in self._databases:
            keys = {
                it.collection: key for key, it in self._watched.items() if it.database == database
            }
            try:
                found = self._client[database].list_collections(
                    nameOnly=True,
                    authorizedCollections=True,
                    filter={"name": {"$in": list(keys)}},
                )
            except OperationFailure:
                return None
            kinds |= {keys[each["name"]]: each["type"] for each in found}
        return kinds

    def _privileges(self) -> Sequence[Privilege] | None:
        info = self._database.command("connectionStatus", showPrivileges=True)["authInfo"]
        if not info["authenticatedUsers"]:
            return None
        return [
            Privilege(
                database=found["resource"].get("db", ""),
                collection=found["resource"].get("collection", ""),
                actions=frozenset(found["actions"]),
            )
            for found in info["authenticatedUserPrivileges"]
            if "cluster" not in found["resource"]
        ]

    def _oplog(self) -> OplogFacts | None:
        oplog = self._client.local["oplog.rs"]
        try:
            first = oplog.find_one(sort=[("$natural", pymongo.ASCENDING)])
            last = oplog.find_one(sort=[("$natural", pymongo.DESCENDING)])
            size = self._client.local.command("collStats", "oplog.rs")
        except OperationFailure:
            return None
        if first is None or last is None:
            return None
        return OplogFacts(
            first=ClusterTime(first["ts"].time, first["ts"].inc),
            last=ClusterTime(last["ts"].time, last["ts"].inc),
            used_bytes=int(size["size"]),
            max_bytes=int(size["maxSize"]),
        )


def _topology(hello: _Document) -> Topology:
    """Say what kind of server it is. Raises SourceRefusedError when the set isn't initiated."""
    if hello.get("isreplicaset"):
        raise SourceRefusedError(NOT_INITIATED.message, remedy=NOT_INITIATED.remedy)
    if "setName" in hello:
        return "replica set"
    return "sharded cluster" if hello.get("msg") == "isdbgrid" else "standalone"


def _majority_lag_s(hello: _Document) -> float | None:
    written = hello.get("lastWrite")
    if written is None:
        return None
    lag = written["lastWriteDate"] - written["majorityWriteDate"]
    return float(lag.total_seconds())


def _cluster_time(timestamp: Timestamp | None) -> ClusterTime | None:
    return None if timestamp is None else ClusterTime(timestamp.time, timestamp.inc)
