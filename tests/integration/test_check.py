"""`mnc check` says how the servers stand, and what to do about it, and changes nothing."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import pytest
from pymongo import MongoClient
from tests.guarded import DATABASE, SECRET, GuardedMongod, guarded_mongod
from tests.integration.checking import Checked, run_check
from tests.jetstream import ask_jetstream
from tests.servers import (
    DENYING,
    OLD_SERVERS,
    StartMongod,
    StartNatsServer,
    login,
    start_mongod_alone,
)

from mnc.embedded.servers import MongodProcess, NatsServerProcess

_NOWHERE = {"MONGO_URI": "mongodb://127.0.0.1:1/shop", "NATS_SERVER_URL": "nats://127.0.0.1:1"}
_OLD_TOKEN = "8200000001000000012B0229296E04"  # noqa: S105 - a resume token of the year 1970


@pytest.fixture
def settings(
    mongod: MongodProcess, nats_server: NatsServerProcess, database: str
) -> dict[str, str]:
    """Name the session's servers, a database of the test's own, and a stream that isn't there."""
    return {
        "MONGO_URI": mongod.database_uri(database),
        "NATS_SERVER_URL": nats_server.url,
        "NATS_STREAM_NAME": database,
    }


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GuardedMongod]:
    """Run a mongod that wants a login."""
    with guarded_mongod(tmp_path_factory.mktemp("guarded") / "mongod") as server:
        yield server


@pytest.fixture(scope="module")
def uninitiated(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """Run a mongod that was never initiated; the port."""
    server = start_mongod_alone(tmp_path_factory.mktemp("uninitiated"), 0, "--replSet", "mnc")
    yield server.port
    server.kill()


# --- servers that are well -----------------------------------------------------------------------


def test_good_servers_are_no_problem(settings: dict[str, str]) -> None:
    """On fresh servers nothing is a problem, and what isn't there yet is said to come."""
    checked = run_check(settings, "--json")
    assert checked.code == 0, checked.stdout
    assert checked.stderr == ""
    assert checked.level("MongoDB", "topology") == "ok"
    assert checked.level("MongoDB", "majority") == "ok"
    assert checked.level("MongoDB", "change stream") == "ok"
    assert checked.level("MongoDB", "resume tokens") == "ok"
    assert checked.level("MongoDB", "oplog") == "ok"
    assert checked.level("MongoDB", "clock") == "ok"
    assert checked.level("MongoDB", "collections") == "warning"
    assert checked.level("NATS", "permissions") == "ok"
    assert "mnc serve will make it" in checked.text("NATS", "stream")
    assert checked.level("NATS", "replicas") == "ok"
    assert checked.level("NATS", "max_payload") == "ok"
    assert "in the object store" in checked.text("NATS", "max_payload")


def test_a_limit_is_judged_under_the_policy_in_force(settings: dict[str, str]) -> None:
    """With NATS_OVERSIZE=stop a large event would stop its collection, and `mnc check` says so."""
    checked = run_check({**settings, "NATS_OVERSIZE": "stop"}, "--json")
    assert checked.level("NATS", "max_payload") == "warning"
    assert "stops its collection" in checked.text("NATS", "max_payload")


def test_check_changes_nothing(settings: dict[str, str]) -> None:
    """Neither a stream nor a collection is made."""
    run_check(settings)
    names = ask_jetstream(settings["NATS_SERVER_URL"], "STREAM.NAMES")["streams"] or []
    assert settings["NATS_STREAM_NAME"] not in names
    with MongoClient[dict[str, Any]](settings["MONGO_URI"]) as client:
        assert client.get_default_database().list_collection_names() == []


def test_a_pipe_gets_a_line_for_each_finding(settings: dict[str, str]) -> None:
    """Without a terminal each finding is a line of fields with tabs, the level first."""
    checked = run_check({**settings, "MONGO_WATCH_COLLECTION": "users"})
    rows = [line.split("\t") for line in checked.stdout.splitlines()]
    assert {row[0] for row in rows} == {"ok", "warning"}
    assert {len(row) for row in rows} == {4, 5}
    assert ["warning", "settings", "misspelt"] in [row[:3] for row in rows]


def test_a_lost_position_is_a_problem(settings: dict[str, str]) -> None:
    """A token document whose time the oplog no longer has is found before it is needed."""
    assert "none yet" in run_check(settings, "--json").text("MongoDB", "positions")
    with MongoClient[dict[str, Any]](settings["MONGO_URI"]) as client:
        database = client.get_default_database()
        database["cs_resume_tokens"].insert_one(
            {
                "_id": {
                    "stream": settings["NATS_STREAM_NAME"],
                    "database": database.name,
                    "collection": "users",
                },
                "token": _OLD_TOKEN,
                "typeBits": None,
                "streamSeq": 0,
                "epoch": 0,
            }
        )
    checked = run_check(settings, "--json")
    assert checked.code == 1
    assert "no longer reaches back" in checked.text("MongoDB", "positions")


# --- wrong settings, servers that are not there -----------------------------------------------


def test_wrong_settings_are_told_all_at_once() -> None:
    """Each wrong setting is a line on standard error, no server is asked, and the code is 2."""
    checked = run_check({**_NOWHERE, "HTTP_PORT": "x", "NATS_STREAM_NAME": "a.b"}, "--json")
    assert checked.code == 2
    assert checked.stdout == ""
    assert [line.split(": ")[:2] for line in checked.stderr.splitlines()] == [
        ["mnc", "NATS_STREAM_NAME"],
        ["mnc", "HTTP_PORT"],
    ]


def test_a_uri_that_the_client_refuses_is_a_wrong_setting() -> None:
    """An option that pymongo doesn't accept ends with 2 as well."""
    checked = run_check({**_NOWHERE, "MONGO_URI": "mongodb://127.0.0.1/shop?w=-1"})
    assert checked.code == 2
    assert checked.stderr.startswith("mnc: MONGO_URI: ")


def test_both_servers_are_waited_for_at_the_same_time() -> None:
    """Unreachable servers are two problems, after about the time that was given, not twice it."""
    started_at = time.monotonic()
    checked = run_check(_NOWHERE, "--json", "--timeout", "2")
    assert time.monotonic() - started_at < 2 * 2 + 1  # starting Python takes up to a second
    assert checked.code == 1
    assert "connection refused; start it" in checked.text("MongoDB", "reachable")
    assert "connection refused; start it" in checked.text("NATS", "reachable")


# --- MongoDB ----------------------------------------------------------------------------------


def test_a_standalone_server_is_told_how_to_become_a_replica_set(
    settings: dict[str, str], start_own_mongod: StartMongod
) -> None:
    """A standalone mongod is one problem, with the remedy."""
    standalone = start_own_mongod(repl_set=None)
    checked = run_check({**settings, "MONGO_URI": standalone.database_uri(DATABASE)}, "--json")
    assert checked.code == 1
    assert checked.level("MongoDB", "topology") == "problem"
    assert "rs.initiate()" in checked.text("MongoDB", "topology")


@pytest.mark.parametrize("options", ["", "?replicaSet=mnc", "?directConnection=true"])
def test_a_set_that_is_not_initiated_is_told_apart(
    settings: dict[str, str], uninitiated: int, options: str
) -> None:
    """Whatever MONGO_URI says, a mongod with --replSet alone is told to be initiated."""
    uri = f"mongodb://127.0.0.1:{uninitiated}/{DATABASE}{options}"
    checked = run_check({**settings, "MONGO_URI": uri}, "--json", "--timeout", "2")
    assert checked.code == 1
    assert "not initiated; call rs.initiate()" in checked.text("MongoDB", "reachable")


def test_a_wrong_set_name_is_told_apart(settings: dict[str, str], mongod: MongodProcess) -> None:
    """A set of another name than MONGO_URI says is not taken for an outage."""
    uri = f"mongodb://127.0.0.1:{mongod.port}/{DATABASE}?replicaSet=other"
    checked = run_check({**settings, "MONGO_URI": uri}, "--json", "--timeout", "2")
    assert checked.code == 1
    assert "correct replicaSet in MONGO_URI" in checked.text("MongoDB", "reachable")


@pytest.mark.parametrize(
    ("user", "password", "said"),
    [("writer", f"{SECRET}-wrong", "refuses the user or the password"), ("", "", "wants a login")],
)
def test_a_refused_login_is_a_problem(
    settings: dict[str, str], guarded: GuardedMongod, user: str, password: str, said: str
) -> None:
    """A wrong password and a missing login are told apart, and no password is shown."""
    uri = guarded.uri_of(user, password=password)
    checked = run_check({**settings, "MONGO_URI": uri}, "--json")
    assert checked.code == 1
    assert said in checked.stdout


@pytest.mark.parametrize(
    ("user", "stream", "tokens", "oplog"),
    [
        ("nobody", "problem", "problem", "unknown"),
        ("reader", "ok", "problem", "unknown"),
        ("minimal", "ok", "ok", "unknown"),
        ("writer", "ok", "ok", "unknown"),
        ("observer", "ok", "ok", "ok"),
    ],
)
def test_missing_privileges_are_found_without_writing(
    settings: dict[str, str],
    guarded: GuardedMongod,
    *,
    user: str,
    stream: str,
    tokens: str,
    oplog: str,
) -> None:
    """What the user may do is known before the connector fails for want of it."""
    checked = run_check({**settings, "MONGO_URI": guarded.uri_of(user)}, "--json")
    assert checked.level("MongoDB", "change stream") == stream
    assert checked.level("MongoDB", "resume tokens") == tokens
    assert checked.level("MongoDB", "oplog") == oplog
    assert checked.code == (1 if "problem" in {stream, tokens} else 0)
    if user == "reader":
        assert "lacks insert and update" in checked.text("MongoDB", "resume tokens")


def test_the_right_to_read_another_database_is_enough(
    settings: dict[str, str], guarded: GuardedMongod
) -> None:
    """Nothing is written to other databases than that of MONGO_URI, and one that exists is seen."""
    settings |= {"MONGO_URI": guarded.uri_of("two"), "MONGO_WATCH_COLLECTIONS": "users,crm.users"}
    home = {"role": "readWrite", "db": DATABASE}
    with MongoClient[dict[str, Any]](guarded.uri) as root:
        root["crm"]["users"].insert_one({})
        root[DATABASE].command("createUser", "two", pwd=f"{SECRET}@home", roles=[home])
        refused = run_check(settings, "--json")
        root[DATABASE].command("grantRolesToUser", "two", roles=[{"role": "read", "db": "crm"}])
    assert refused.code == 1
    assert "on database crm: the user in MONGO_URI may not" in refused.text(
        "MongoDB", "change stream"
    )
    granted = run_check(settings, "--json")
    assert granted.code == 0
    assert granted.level("MongoDB", "other databases") == "ok"
    assert "crm.users" in granted.text("MongoDB", "collections")


# --- NATS -------------------------------------------------------------------------------------


def test_a_server_without_jetstream_is_a_problem(
    settings: dict[str, str], start_own_nats: StartNatsServer
) -> None:
    """A nats-server without JetStream is told to be started with it."""
    plain = start_own_nats(jetstream=False)
    checked = run_check({**settings, "NATS_SERVER_URL": plain.url}, "--json")
    assert checked.code == 1
    assert checked.level("NATS", "reachable") == "ok"
    assert "--jetstream" in checked.text("NATS", "JetStream")


def test_what_nats_refuses_is_a_problem(
    settings: dict[str, str], start_own_nats: StartNatsServer
) -> None:
    """A wrong password, missing permissions and an account without JetStream are told apart."""
    server = start_own_nats(
        extra_config=f"""accounts {{
            A {{ jetstream: enabled, users: [
                {{user: all, password: {SECRET}}},
                {{user: some, password: {SECRET}, permissions: {{publish: {{
                    allow: ["$SYS.REQ.USER.INFO", "$JS.API.>"], deny: "$JS.API.STREAM.CREATE.>"
                }}}}}},
            ]}},
            B {{ users: [{{user: other, password: {SECRET}}}] }},
        }}"""
    )

    def check(user: str, password: str = SECRET) -> Checked:
        url = f"nats://{user}:{password}@127.0.0.1:{server.port}"
        return run_check({**settings, "NATS_SERVER_URL": url}, "--json", "--timeout", "2")

    assert check("all").code == 0
    wrong = check("all", f"{SECRET}-wrong")
    assert wrong.code == 1
    assert "authorization violation" in wrong.text("NATS", "reachable")
    some = check("some")
    stream = settings["NATS_STREAM_NAME"]
    denied = f"$JS.API.STREAM.CREATE.{stream}, {stream}.users.*.*, {stream}_position.users"
    assert some.code == 1
    assert denied in some.text("NATS", "permissions")
    other = check("other")
    assert other.code == 1
    assert "enable JetStream for the account" in other.text("NATS", "JetStream")


@pytest.mark.parametrize("version", [*OLD_SERVERS, None])
def test_publishing_without_batches_is_a_warning(
    settings: dict[str, str], start_own_nats: StartNatsServer, version: str | None
) -> None:
    """An old server, or a stream that the user may not change, is told with what would help.

    With NATS_REQUIRE_FENCING it is a problem.
    """
    server = start_own_nats(version=version, extra_config=DENYING)
    stream = settings["NATS_STREAM_NAME"]
    ask_jetstream(
        server.url, f"STREAM.CREATE.{stream}", {"name": stream, "subjects": [f"{stream}.>"]}
    )
    settings = {**settings, "NATS_SERVER_URL": login(server.url, "mnc")}
    checked = run_check(settings, "--json")
    assert checked.code == 0, checked.stdout
    assert checked.level("NATS", "publishing") == "warning"
    assert checked.level("NATS", "permissions") == "ok"
    remedy = f"nats stream edit {stream}" if version is None else "nats-server 2.12 or newer"
    assert remedy in checked.text("NATS", "publishing")
    refused = run_check({**settings, "NATS_REQUIRE_FENCING": "true"}, "--json")
    assert refused.code == 1
    assert refused.level("NATS", "publishing") == "problem"


def test_a_stream_without_dead_letters_takes_batches(
    settings: dict[str, str], start_own_nats: StartNatsServer
) -> None:
    """What isn't insisted on, and may not be added, changes nothing about how events go out."""
    server = start_own_nats(extra_config=DENYING)
    stream = settings["NATS_STREAM_NAME"]
    flags = dict.fromkeys(("allow_atomic", "allow_rollup_hdrs", "allow_msg_ttl"), True)
    subjects = [f"{stream}.>", f"{stream}_position.*"]
    config = {"name": stream, "subjects": subjects, **flags}
    ask_jetstream(server.url, f"STREAM.CREATE.{stream}", config)
    checked = run_check({**settings, "NATS_SERVER_URL": login(server.url, "mnc")}, "--json")
    assert checked.level("NATS", "publishing") == "ok"
    assert f"{stream}_deadletter.*" in checked.text("NATS", "stream")


def test_a_stream_in_the_way_is_a_problem(settings: dict[str, str]) -> None:
    """Another stream that has subjects of this one is named."""
    url, stream = settings["NATS_SERVER_URL"], settings["NATS_STREAM_NAME"]
    ask_jetstream(
        url, "STREAM.CREATE.other", {"name": "other", "subjects": [f"{stream}_position.users"]}
    )
    try:
        checked = run_check(settings, "--json")
    finally:
        ask_jetstream(url, "STREAM.DELETE.other")
    assert checked.code == 1
    assert "stream other" in checked.text("NATS", "subjects")


@pytest.mark.parametrize(
    ("config", "check", "level", "said"),
    [
        ({}, "stream", "ok", "mnc serve adds to it, if it may: "),
        ({"retention": "interest"}, "stream", "problem", "--retention limits"),
        ({"deny_purge": True}, "stream", "problem", "NATS_STREAM_NAME"),
        ({"no_ack": True}, "stream", "problem", "--ack"),
        ({"max_msgs": 10, "discard": "old"}, "limits", "warning", "--discard new"),
        ({"storage": "memory"}, "storage", "warning", "memory"),
        ({"max_msg_size": 1000}, "message size", "ok", "in the object store"),
    ],
)
def test_a_stream_is_judged_by_its_settings(
    settings: dict[str, str], config: dict[str, object], check: str, level: str, said: str
) -> None:
    """What an operator chose for the stream, and what that means, is said; nothing is changed."""
    url, stream = settings["NATS_SERVER_URL"], settings["NATS_STREAM_NAME"]
    made = ask_jetstream(
        url, f"STREAM.CREATE.{stream}", {"name": stream, "subjects": [f"{stream}.>"], **config}
    )
    try:
        checked = run_check(settings, "--json")
        found = ask_jetstream(url, f"STREAM.INFO.{stream}")
    finally:
        ask_jetstream(url, f"STREAM.DELETE.{stream}")
    assert checked.level("NATS", check) == level
    assert said in checked.text("NATS", check)
    assert found["config"] == made["config"]
