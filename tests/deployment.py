"""A deployment under test: a database, a stream, and the connectors between them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import quote
from uuid import uuid4

import pytest
from pymongo import MongoClient
from pymongo.database import Database
from tests.connector import ConnectorProcess
from tests.jetstream import ask_jetstream, create_stream, last_of_subject
from tests.oracle import Oracle, Report
from tests.soak import note_figures
from tests.writer import MakeId, Writer, plain_id

__all__ = [
    "COLLECTIONS",
    "DUPLICATE_WINDOW_S",
    "TOKENS",
    "Broker",
    "Deploy",
    "Deployment",
    "Source",
    "deploy",
]

COLLECTIONS = ("users", "movies")

TOKENS = "cs_resume_tokens"

DUPLICATE_WINDOW_S = 0.1
"""So short that the stream's memory of message ids hides no error."""

_COMPLETE_S = 60.0
"""How long the stream may take to hold what was written; a lane may rest for half of it."""


class Deployment:
    """One database, one stream, and connectors that watch the one for the other.

    The oracle expects what is written from the making of the deployment on, so start a connector
    and let it watch before the first write.
    """

    def __init__(
        self,
        *,
        mongo_uri: str,
        nats_url: str,
        collections: Sequence[str],
        settings: Mapping[str, str],
        folder: Path,
    ) -> None:
        name = uuid4().hex[:12]
        self.mongo_uri = mongo_uri
        self.nats_url = nats_url
        self.database = f"test_{name}"
        self.stream = f"cs_{name}"
        self.collections = collections
        scheme_and_host, _, options = mongo_uri.partition("/?")
        self.settings = {
            "MONGO_URI": f"{scheme_and_host}/{self.database}?{options}",
            "MONGO_WATCH_COLLECTIONS": ",".join(map(self.key, collections)),
            "MONGO_RESUME_TOKENS_COLLECTION": TOKENS,
            "NATS_SERVER_URL": nats_url,
            "NATS_STREAM_NAME": self.stream,
            **settings,
        }
        self.reports: list[Report] = []
        """What the oracle said at the end, for the soak's figures."""
        self._folder = folder
        self._connectors: list[ConnectorProcess] = []
        self.client = MongoClient[dict[str, Any]](mongo_uri)
        self.oracle = self._new_oracle()

    @property
    def db(self) -> Database[dict[str, Any]]:
        """The database, to write to by hand."""
        return self.client[self.database]

    def key(self, collection: str) -> str:
        """Return how settings and subjects call a collection: with a dot, by its database too."""
        return f"{self.database}.{collection}" if "." in collection else collection

    def start(self, **settings: str) -> ConnectorProcess:
        """Start a connector; `settings` are its own, by their names."""
        connector = ConnectorProcess(
            {**self.settings, **settings},
            log_path=self._folder / f"{self.database}-{len(self._connectors)}.log",
        )
        self._connectors.append(connector)
        return connector

    def start_ready(self, **settings: str) -> ConnectorProcess:
        """Start a connector and wait until it watches all collections."""
        connector = self.start(**settings)
        connector.wait_ready()
        return connector

    def run(self, *command: str) -> subprocess.CompletedProcess[str]:
        """Run another command of mnc's with the connectors' settings."""
        return subprocess.run(
            [sys.executable, "-m", "mnc", *command],
            env={**os.environ, **self.settings},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )

    def writer(self, *, seed: int, pause_s: float = 0.003, make_id: MakeId = plain_id) -> Writer:
        """Return a writer to all collections."""
        return Writer(
            self.mongo_uri,
            self.database,
            self.collections,
            seed=seed,
            pause_s=pause_s,
            make_id=make_id,
        )

    def token_document(self, collection: str) -> Mapping[str, Any] | None:
        """Return a collection's token document."""
        return self.db[TOKENS].find_one(
            {"_id.database": self.database, "_id.collection": collection}
        )

    def marker_token(self, collection: str) -> str | None:
        """Return the token of a collection's position marker."""
        name = quote(self.key(collection), safe="-_@").replace(".", "%2E").replace("~", "%7E")
        subject = f"{self.stream}_position.{name}"
        marker = last_of_subject(self.nats_url, self.stream, subject)
        return None if marker is None else str(json.loads(marker.payload)["token"])

    def finish(self, events: int | range, *, dead_letters: int = 0) -> None:
        """Assert that the stream gets and stays exact with this many events; end the connectors.

        So many of the events have to be dead letters.

        Each connector has to end well, and their token documents have to be as far as the stream.
        """
        report = self.oracle.report(timeout_s=_COMPLETE_S)
        assert report.is_exact, report
        for connector in self._connectors:
            if connector.is_alive:
                assert connector.terminate() == 0
        report = self.oracle.report()
        self.reports.append(report)
        assert report.is_exact, report
        assert report.expected in (range(events, events + 1) if isinstance(events, int) else events)
        assert len(self.oracle.dead_letters()) == dead_letters
        for collection in self.collections:
            marker, document = self.marker_token(collection), self.token_document(collection)
            assert document is not None
            assert marker is None or document["token"] >= marker

    def expect_from_now(self) -> None:
        """Let the oracle expect what is written from now on, and nothing that was before."""
        self.oracle = self._new_oracle()

    def _new_oracle(self) -> Oracle:
        return Oracle(
            mongo_uri=self.mongo_uri,
            database=self.database,
            collections=self.collections,
            nats_url=self.nats_url,
            stream=self.stream,
        )

    def kill(self) -> None:
        """Kill the connectors that run."""
        for connector in self._connectors:
            connector.kill()


class Source(Protocol):
    """A mongod, or a replica set of them."""

    @property
    def uri(self) -> str:
        """The connection string, with options and without a database."""
        ...


class Broker(Protocol):
    """A NATS server, or a cluster of them."""

    @property
    def url(self) -> str:
        """What a client connects to."""
        ...


class Deploy(Protocol):
    """Make a deployment on the session's servers, or on a test's own.

    `settings` are the connectors', by their names. Its stream exists already, with a duplicate
    window of DUPLICATE_WINDOW_S, unless `make_stream` is False.
    """

    def __call__(
        self,
        *,
        mongod: Source | None = None,
        nats_server: Broker | None = None,
        collections: Sequence[str] = COLLECTIONS,
        make_stream: bool = True,
        **settings: str,
    ) -> Deployment:
        """Make one; see the class."""
        ...


@pytest.fixture
def deploy(
    request: pytest.FixtureRequest,
    tmp_path: Path,
    start_own_mongod: object,
    start_own_nats: object,
) -> Iterator[Deploy]:
    """Make deployments, which are gone afterwards."""
    del start_own_mongod, start_own_nats  # asked for so that their servers outlive deployments
    deployments: list[Deployment] = []
    with ExitStack() as cleanup:

        def make(
            *,
            mongod: Source | None = None,
            nats_server: Broker | None = None,
            collections: Sequence[str] = COLLECTIONS,
            make_stream: bool = True,
            **settings: str,
        ) -> Deployment:
            source = mongod or request.getfixturevalue("mongod")
            sink = nats_server or request.getfixturevalue("nats_server")
            deployment = Deployment(
                mongo_uri=source.uri,
                nats_url=sink.url,
                collections=collections,
                settings=settings,
                folder=tmp_path,
            )
            deployments.append(deployment)
            cleanup.callback(deployment.client.close)
            if mongod is None:
                cleanup.callback(deployment.client.drop_database, deployment.database)
            if nats_server is None:
                cleanup.callback(ask_jetstream, sink.url, f"STREAM.DELETE.{deployment.stream}")
            cleanup.callback(deployment.kill)
            if make_stream:
                create_stream(sink.url, deployment.stream, duplicate_window_s=DUPLICATE_WINDOW_S)
            return deployment

        yield make
    note_figures(request.node, [report for each in deployments for report in each.reports])
