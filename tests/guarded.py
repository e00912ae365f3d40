"""A MongoDB server that wants a login."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pymongo import MongoClient
from tests.servers import start_mongod_alone
from tests.waiting import wait_until

from mnc.embedded.process import ServerProcess
from mnc.embedded.servers import start_mongod

__all__ = ["DATABASE", "SECRET", "GuardedMongod", "guarded_mongod"]

DATABASE = "shop"

SECRET = "hunter2"  # noqa: S105 - of servers that live for a test
"""A part of every password here, which no escaping changes: it must never be shown."""

_SET_NAME = "mnc"
_START_TIMEOUT_S = 60.0


class GuardedMongod:
    """A replica set of one member with access control.

    In DATABASE it has the users `nobody` with nothing, `reader` and `writer` with the built-in
    roles, `minimal` with what the connector needs and no more, and `observer` with what `mnc check`
    can make use of. `root` may do anything.
    """

    def __init__(self, process: ServerProcess) -> None:
        self.port = process.port

    @property
    def uri(self) -> str:
        """The connection string of `root`, without a database."""
        return self.uri_of("root", database="", options="&authSource=admin")

    def uri_of(
        self,
        user: str,
        *,
        password: str = f"{SECRET}@home",
        database: str = DATABASE,
        options: str = "",
    ) -> str:
        """Return the connection string of a user; an empty name doesn't log in."""
        login = f"{user}:{password.replace('@', '%40')}@" if user else ""
        where = f"{login}127.0.0.1:{self.port}/{database}"
        return f"mongodb://{where}?replicaSet={_SET_NAME}{options}"


@contextmanager
def guarded_mongod(
    data_dir: Path, *args: str, subjects: Sequence[str] = (), tls: str = ""
) -> Iterator[GuardedMongod]:
    """Run a mongod with these arguments that wants a login.

    `subjects` are those of client certificates that may do what `writer` may. `tls` is the options
    of a connection string that a client needs because of the arguments.
    """
    key = data_dir / "key"
    data_dir.mkdir(parents=True)
    key.write_text("c2VjcmV0" * 2)
    key.chmod(0o400)
    # Initiated and given its users before it starts to ask for a login.
    open_server = start_mongod(data_dir, repl_set=_SET_NAME)
    try:
        _create_users(open_server.uri, subjects)
    finally:
        open_server.stop()
    server = start_mongod_alone(
        data_dir, open_server.port, "--replSet", _SET_NAME, "--keyFile", str(key), *args
    )
    try:
        guarded = GuardedMongod(server)
        with MongoClient[dict[str, Any]](f"{guarded.uri}{tls}") as client:
            # It has a time of its own a moment after it is a primary.
            wait_until(
                lambda: "operationTime" in client.admin.command("ping"),
                timeout_s=_START_TIMEOUT_S,
                what="the set to have a time",
            )
        yield guarded
    finally:
        server.kill()


def _create_users(uri: str, subjects: Sequence[str]) -> None:
    with MongoClient[dict[str, Any]](uri) as client:
        database = client[DATABASE]
        every = {"db": DATABASE, "collection": ""}
        tokens = {"db": DATABASE, "collection": "cs_resume_tokens"}
        database.command(
            "createRole",
            "minimal",
            privileges=[
                {"resource": every, "actions": ["find", "changeStream"]},
                {"resource": tokens, "actions": ["find", "insert", "update"]},
            ],
            roles=[],
        )
        roles: dict[str, list[object]] = {
            "nobody": [],
            "reader": ["read"],
            "minimal": ["minimal"],
            "writer": ["readWrite"],
            "observer": [
                "readWrite",
                {"role": "clusterMonitor", "db": "admin"},
                {"role": "read", "db": "local"},
            ],
        }
        for user, granted in roles.items():
            database.command("createUser", user, pwd=f"{SECRET}@home", roles=granted)
        database.create_collection("users")
        client.admin.command("createUser", "root", pwd=f"{SECRET}@home", roles=["root"])
        for subject in subjects:
            role = {"role": "readWrite", "db": DATABASE}
            client["$external"].command("createUser", subject, roles=[role])
