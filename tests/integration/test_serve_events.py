"""`mnc serve` on real servers: what is written to MongoDB is in the stream, as it should be."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from bson import ObjectId
from tests.deployment import DUPLICATE_WINDOW_S, Deploy, Deployment
from tests.jetstream import ask_jetstream
from tests.servers import StartMongod, StartNatsServer
from tests.waiting import wait_until


def stored(deployment: Deployment) -> list[tuple[str, Mapping[str, Any]]]:
    """Return the subjects and payloads in the stream, without the stream's name."""
    return [
        (message.subject.removeprefix(f"{deployment.stream}."), json.loads(message.payload))
        for message in deployment.oracle.messages()
    ]


def stream_config(deployment: Deployment) -> Mapping[str, Any]:
    """Return the stream's configuration."""
    answer = ask_jetstream(deployment.nats_url, f"STREAM.INFO.{deployment.stream}")
    config: Mapping[str, Any] = answer["config"]
    return config


def test_every_operation_arrives_under_its_subject(deploy: Deploy) -> None:
    """A document's life is four messages: collection, operation and `_id` stand in the subjects."""
    deployment = deploy(make_stream=False)
    deployment.start_ready()
    users = deployment.db["users"]
    document_id = users.insert_one({"name": "Ada"}).inserted_id
    users.update_one({"_id": document_id}, {"$set": {"name": "Grace"}})
    users.replace_one({"_id": document_id}, {"title": "admiral"})
    users.delete_one({"_id": document_id})
    deployment.finish(4)
    messages = stored(deployment)
    operations = ["insert", "update", "replace", "delete"]
    assert [subject for subject, _ in messages] == [
        f"users.{operation}.{document_id}" for operation in operations
    ]
    assert [change["operationType"] for _, change in messages] == operations
    oid = {"$oid": str(document_id)}
    assert [change["documentKey"] for _, change in messages] == [{"_id": oid}] * 4
    assert messages[0][1]["fullDocument"] == {"_id": oid, "name": "Ada"}
    assert messages[1][1]["updateDescription"]["updatedFields"] == {"name": "Grace"}
    assert messages[2][1]["fullDocument"] == {"_id": oid, "title": "admiral"}
    assert "fullDocument" not in messages[3][1]


def test_message_ids_are_resume_tokens(deploy: Deploy) -> None:
    """A consumer, or the stream itself, can recognise a repeated event."""
    deployment = deploy()
    deployment.start_ready()
    deployment.db["users"].insert_many({"n": n} for n in range(3))
    deployment.finish(3)
    for message in deployment.oracle.messages():
        assert message.headers["Nats-Msg-Id"] == json.loads(message.payload)["_id"]["_data"]


def test_what_was_there_before_the_first_watch_is_not_published(deploy: Deploy) -> None:
    """The stream begins with the first change after the collection is watched."""
    deployment = deploy()
    deployment.db["users"].insert_one({"_id": "before"})
    deployment.start_ready()
    deployment.db["users"].insert_one({"_id": "after"})
    wait_until(lambda: stored(deployment), timeout_s=20, what="an event")
    assert [subject for subject, _ in stored(deployment)] == ["users.insert.after"]


def test_other_collections_and_operations_stay_out(deploy: Deploy) -> None:
    """Only the named collections' named operations are stored."""
    deployment = deploy(MONGO_WATCH_OPERATIONS="insert,delete")
    deployment.start_ready()
    for name in ("users", "strangers", "users2"):
        deployment.db[name].insert_one({"_id": 1})
        deployment.db[name].update_one({"_id": 1}, {"$set": {"n": 1}})
        deployment.db[name].delete_one({"_id": 1})
    wait_until(lambda: len(stored(deployment)) >= 2, timeout_s=20, what="both events")
    assert [subject for subject, _ in stored(deployment)] == ["users.insert.1", "users.delete.1"]


def test_a_transaction_arrives_in_its_order(deploy: Deploy) -> None:
    """The writes of a transaction share a cluster time, and still keep their order.

    All of them name the session and the transaction's number.
    """
    deployment = deploy()
    deployment.start_ready()
    with deployment.client.start_session() as session, session.start_transaction():
        for n in range(30):
            deployment.db["users"].insert_one({"_id": n}, session=session)
            deployment.db["movies"].insert_one({"_id": n}, session=session)
    deployment.finish(60)
    for name in deployment.collections:
        subjects = [subject for subject, _ in stored(deployment) if subject.startswith(name)]
        assert subjects == [f"{name}.insert.{n}" for n in range(30)]
    assert (
        len({json.dumps([change["lsid"], change["txnNumber"]]) for _, change in stored(deployment)})
        == 1
    )


def test_stream_is_created_with_what_batches_need(deploy: Deploy) -> None:
    """On a new broker nobody has to prepare anything, and old messages are never dropped."""
    deployment = deploy(make_stream=False)
    deployment.start_ready()
    config = stream_config(deployment)
    stream = deployment.stream
    beside = [f"{stream}_position.*", f"{stream}_deadletter.*"]
    assert config["subjects"] == [f"{stream}.*.*.*", *beside]
    assert (config["storage"], config["discard"]) == ("file", "new")
    assert config["allow_atomic"]


def test_existing_stream_keeps_its_operators_settings(deploy: Deploy) -> None:
    """A stream that is there gets what is missing and loses nothing."""
    deployment = deploy()
    before = stream_config(deployment)
    assert not before.get("allow_atomic")
    deployment.start_ready()
    after = stream_config(deployment)
    assert after["duplicate_window"] == round(DUPLICATE_WINDOW_S * 1e9)
    changed = {name for name in after if after[name] != before.get(name)}
    assert changed <= {
        "subjects",
        "allow_atomic",
        "allow_rollup_hdrs",
        "allow_msg_ttl",
        "metadata",  # the server's own note of the API level
    }


def test_large_documents_flow_through_a_small_budget(deploy: Deploy) -> None:
    """Documents of many times the memory for events in flight arrive, a few at a time."""
    deployment = deploy(PUBLISH_MAX_INFLIGHT_BYTES="1MiB")
    deployment.start_ready()
    for n in range(40):
        deployment.db["users"].insert_one({"_id": n, "text": "x" * 900_000})
        deployment.db["movies"].insert_many({"text": "x" * 9_000} for _ in range(20))
    deployment.finish(40 + 40 * 20)


def test_probes_and_metrics_tell_the_truth(deploy: Deploy) -> None:
    """Health, status and metrics say what was captured, published and checkpointed."""
    deployment = deploy()
    connector = deployment.start_ready()
    deployment.db["users"].insert_many({"n": n} for n in range(100))
    wait_until(
        lambda: connector.counted("events_checkpointed") == 100, timeout_s=20, what="all events"
    )
    assert connector.counted("events_captured") == connector.counted("events_published") == 100
    assert connector.get("/health").json() == {"nats": "UP", "mongo": "UP"}
    assert connector.get("/livez").status_code == 200
    labels = f'collection="users",database="{deployment.database}",operation="insert"'
    assert f"{{{labels}}} 100.0" in connector.get("/metrics").text
    deployment.finish(100)


def test_token_documents_are_kept_by_stream_database_and_collection(deploy: Deploy) -> None:
    """Each watched collection has one from the start, without any event."""
    deployment = deploy()
    deployment.start_ready()
    for name in deployment.collections:
        document = deployment.token_document(name)
        assert document is not None
        assert document["_id"] == {
            "stream": deployment.stream,
            "database": deployment.database,
            "collection": name,
        }


def test_servers_that_come_up_later_are_waited_for(
    deploy: Deploy, start_own_mongod: StartMongod, start_own_nats: StartNatsServer
) -> None:
    """A connector that is started first says what it waits for, and begins when it is there."""
    mongod, nats_server = start_own_mongod(), start_own_nats()
    deployment = deploy(mongod=mongod, nats_server=nats_server)
    nats_server.kill()
    connector = deployment.start()
    connector.wait_not_ready("NATS can't be reached", timeout_s=20)
    mongod.kill()
    start_own_nats(nats_server.data_dir, port=nats_server.port)
    connector.wait_not_ready("MongoDB can't be reached", timeout_s=20)
    start_own_mongod(mongod.data_dir, port=mongod.port)
    connector.wait_ready(timeout_s=40)
    deployment.db["users"].insert_one({"_id": ObjectId()})
    deployment.finish(1)


def test_a_look_up_that_finds_nothing_is_published_and_counted(deploy: Deploy) -> None:
    """An update of a document that is gone has its key, and a metric says that it has no more."""
    deployment = deploy()
    connector = deployment.start()
    connector.wait_ready()
    users = deployment.db["users"]
    with deployment.client.start_session() as session, session.start_transaction():
        users.insert_one({"_id": 1}, session=session)
        users.update_one({"_id": 1}, {"$set": {"n": 1}}, session=session)
        users.delete_one({"_id": 1}, session=session)
    wait_until(lambda: len(stored(deployment)) == 3, timeout_s=20, what="all events")
    subject, update = stored(deployment)[1]
    assert subject == "users.update.1"
    assert (update["documentKey"], update["fullDocument"]) == ({"_id": 1}, None)
    labels = f'collection="users",database="{deployment.database}"'
    counted = f'mnc_events_incomplete_total{{{labels},field="fullDocument",reason="missing"}} 1.0'
    assert counted in connector.get("/metrics").text
    deployment.finish(3)


def test_a_burst_ends_up_exact(deploy: Deploy) -> None:
    """A writer at full speed on two collections is followed event by event."""
    deployment = deploy()
    deployment.start_ready()
    with deployment.writer(seed=1, pause_s=0) as writer:
        writer.wait_for_events(3000, timeout_s=60)
    deployment.finish(writer.events)
