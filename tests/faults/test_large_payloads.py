"""Events over the broker's limit arrive, each once and in order, whatever goes wrong meanwhile.

Their payloads are in the object store before the messages that refer to them are in the stream.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import random
import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import Any

import nats
import pytest
from tests.connector import ConnectorProcess
from tests.deployment import Deploy, Deployment
from tests.injection.operators import Operator
from tests.jetstream import StoredMessage
from tests.servers import StartNatsServer
from tests.soak import SOAK
from tests.waiting import wait_until

from mnc.embedded.servers import NatsServerProcess

MIB = 1024 * 1024
ALMOST_16_MIB = 16 * MIB - 4096

RETRY_S = 30
"""A refused lane tries again after 15 to 30 s."""

SAMPLE_AND_SOAK = pytest.mark.parametrize(
    ("seed", "rounds"), [(1, 2), pytest.param(2, 20, marks=SOAK)]
)

# The user mnc is the one without a name; {denied} is a list of subjects.
PERMISSIONS = """
accounts: {{
  A: {{
    jetstream: enabled
    users: [{{user: mnc, password: mnc, permissions: {{publish: {{deny: [{denied}]}}}}}}]
  }}
}}
no_auth_user: mnc
"""


def bucket_of(deployment: Deployment) -> Operator:
    """Return the operator of the bucket, which is a stream."""
    return Operator(deployment.nats_url, f"OBJ_{deployment.stream}_payloads")


def write_large(deployment: Deployment, rng: random.Random) -> int:
    """Write small and large documents to both collections; return the number of events."""
    for name in deployment.collections:
        collection = deployment.db[name]
        collection.insert_one({"_id": 0})
        size = rng.randrange(2 * MIB, 8 * MIB)
        collection.insert_one({"_id": 1, "large": rng.choice("xyz") * size})
        collection.replace_one({"_id": 1}, {"large": rng.choice("uvw") * (size // 2)})
        collection.insert_one({"_id": 2})
        collection.delete_many({})
    return 7 * len(deployment.collections)


def references(deployment: Deployment) -> Iterator[tuple[StoredMessage, dict[str, Any]]]:
    """Return the messages that refer to a payload, and the references."""
    for message in deployment.oracle.messages():
        if message.headers.get("Mnc-Payload") == "object-store":
            yield message, json.loads(message.payload)["payload"]


def check_payloads(deployment: Deployment, *, at_least: int) -> None:
    """Assert that every reference gives its event, read as any client of NATS does."""
    found = list(references(deployment))

    async def read_all() -> None:
        client = await nats.connect(deployment.nats_url)
        try:
            for message, reference in found:
                store = await client.jetstream().object_store(reference["bucket"])
                payload = (await store.get(reference["object"])).data or b""
                assert len(payload) == reference["bytes"]
                assert hashlib.sha256(payload).hexdigest() == reference["sha256"]
                event = json.loads(payload)
                assert event["_id"]["_data"] == message.headers["Nats-Msg-Id"]
                assert len(event["fullDocument"]["large"]) > MIB / 2
        finally:
            await client.close()

    asyncio.run(read_all())
    assert len(found) >= at_least


def tail(deployment: Deployment, *options: str) -> list[str]:
    """Return what `mnc tail` prints of all events."""
    count = str(len(deployment.oracle.messages()))
    environ = {name: os.environ[name] for name in ("PATH", "PYTHONPATH") if name in os.environ}
    process = subprocess.run(
        [sys.executable, "-m", "mnc", "tail", "--from", "start", "--count", count, *options],
        env={
            **environ,
            "NATS_SERVER_URL": deployment.nats_url,
            "NATS_STREAM_NAME": deployment.stream,
        },
        capture_output=True,
        timeout=60,
        check=True,
    )
    return process.stdout.decode().splitlines()


def show(number: int, rounds: int, what: object) -> None:
    """Print a fault that is about to happen."""
    print(f"{number} of {rounds}: {what}", flush=True)  # noqa: T201 - pytest shows it with a failure


# --- going well -------------------------------------------------------------------------------


def test_event_of_up_to_16_mib_goes_through(
    deploy: Deploy, start_own_nats: StartNatsServer
) -> None:
    """An insert, a replacement and a deletion of a document that is as large as can be arrive."""
    deployment = deploy(nats_server=start_own_nats())  # its max_payload is 1 MiB
    connector = deployment.start_ready()
    collection = deployment.db[deployment.collections[0]]
    collection.insert_one({"_id": 1, "large": "x" * ALMOST_16_MIB})
    collection.replace_one({"_id": 1}, {"large": "y" * ALMOST_16_MIB})
    collection.delete_one({"_id": 1})
    deployment.finish(3)
    check_payloads(deployment, at_least=2)
    assert not connector.log("lane.failed")
    inserted, replaced, deleted = tail(deployment, "--json")
    assert len(json.loads(inserted)["payload"]["fullDocument"]["large"]) == ALMOST_16_MIB
    assert json.loads(replaced)["operation"] == "replace"
    assert json.loads(deleted)["id"] == 1


@pytest.mark.parametrize(("policy", "kind"), [("deadletter", "payload_too_large")])
def test_large_event_can_be_a_dead_letter(
    deploy: Deploy, start_own_nats: StartNatsServer, policy: str, kind: str
) -> None:
    """By policy the summary goes to the dead letters, counted and logged, and the rest goes on."""
    deployment = deploy(nats_server=start_own_nats(), NATS_OVERSIZE=policy)
    connector = deployment.start_ready()
    events = write_large(deployment, random.Random(1))
    wait_until(
        lambda: connector.counted("events_published") == events,
        timeout_s=20,
        what="all events to be published",
    )
    assert connector.counted("events_dead_lettered") == 4
    assert [line["kind"] for line in connector.log("publish.dead_lettered")] == [kind] * 4
    deployment.finish(events, dead_letters=4)
    letter = deployment.oracle.dead_letters()[0]
    assert letter.headers["Mnc-Dead-Letter"] == kind
    assert letter.headers["Mnc-Subject"].startswith(f"{deployment.stream}.")
    assert sum(f"(dead letter: {kind})" in line for line in tail(deployment)) == 4


# --- faults -----------------------------------------------------------------------------------


@SAMPLE_AND_SOAK
def test_kills_while_payloads_are_stored_leave_the_stream_exact(
    deploy: Deploy, start_own_nats: StartNatsServer, seed: int, rounds: int
) -> None:
    """Whether a crash comes before, in or after a put, each event is stored once, with payload."""
    rng = random.Random(seed)
    deployment = deploy(nats_server=start_own_nats())
    connector = deployment.start_ready()
    events = 0
    for number in range(1, rounds + 1):
        events += write_large(deployment, rng)
        delay_s = rng.uniform(0, 1.2)
        show(number, rounds, f"kill -9 after {delay_s:.3f} s")
        connector.run_for(delay_s)
        connector.kill()
        connector = deployment.start()
    deployment.finish(events)
    check_payloads(deployment, at_least=4 * rounds)


@SAMPLE_AND_SOAK
def test_broker_killed_while_payloads_are_stored(
    deploy: Deploy, start_own_nats: StartNatsServer, seed: int, rounds: int
) -> None:
    """The connector stores a payload again when its broker is back, and goes on by itself."""
    rng = random.Random(seed)
    server = start_own_nats()
    deployment = deploy(nats_server=server, NATS_ACK_TIMEOUT_S="2")
    connector = deployment.start_ready()
    events = 0
    for number in range(1, rounds + 1):
        events += write_large(deployment, rng)
        delay_s = rng.uniform(0, 0.8)
        show(number, rounds, f"the broker is killed after {delay_s:.3f} s")
        connector.run_for(delay_s)
        server.kill()
        server = start_own_nats(server.data_dir, port=server.port)
        wait_for_events(connector, events)
    deployment.finish(events)
    check_payloads(deployment, at_least=4 * rounds)
    assert len(connector.log("service.started")) == 1


@SAMPLE_AND_SOAK
def test_deleted_bucket_is_made_again(
    deploy: Deploy, start_own_nats: StartNatsServer, seed: int, rounds: int
) -> None:
    """What was in the bucket is gone, as its operator wanted; later payloads are there."""
    rng = random.Random(seed)
    deployment = deploy(nats_server=start_own_nats())
    connector = deployment.start_ready()
    events = write_large(deployment, rng)
    wait_for_events(connector, events)
    for number in range(1, rounds + 1):
        events += write_large(deployment, rng)
        delay_s = rng.uniform(0, 0.8)
        show(number, rounds, f"the bucket is deleted after {delay_s:.3f} s")
        connector.run_for(delay_s)
        delete_if_there(deployment)
        wait_for_events(connector, events)
    delete_if_there(deployment)
    deployment.db[deployment.collections[0]].insert_one({"large": "z" * 2 * MIB})
    deployment.finish(events + 1)
    *_, (_, last) = references(deployment)
    assert bucket_of(deployment).info()["state"]["num_subjects"] == 2
    assert last["bytes"] > 2 * MIB


def deny(start: StartNatsServer, server: NatsServerProcess, *denied: str) -> NatsServerProcess:
    """Start the server again with other permissions."""
    server.stop()
    config = PERMISSIONS.format(denied=" ".join(f'"{subject}"' for subject in denied))
    return start(server.data_dir, port=server.port, extra_config=config)


@pytest.mark.parametrize(
    ("seed", "rounds", "denied"),
    [
        (1, 1, "$O.>"),
        (1, 1, "$JS.API.STREAM.CREATE.>"),
        *(pytest.param(seed, 20, "$O.>", marks=SOAK) for seed in (2,)),
    ],
)
def test_missing_permission_for_the_bucket_is_said(
    deploy: Deploy, start_own_nats: StartNatsServer, seed: int, rounds: int, denied: str
) -> None:
    """The reason names the subject and the setting; with the permission the collection goes on."""
    rng = random.Random(seed)
    server = start_own_nats(extra_config=PERMISSIONS.format(denied=""))
    deployment = deploy(nats_server=server, NATS_ACK_TIMEOUT_S="1")
    connector = deployment.start_ready()
    poisoned, other = (deployment.db[name] for name in deployment.collections)
    for number in range(1, rounds + 1):
        show(number, rounds, f"{denied} is denied")
        server = deny(start_own_nats, server, denied)
        poisoned.insert_many([{"large": "z" * rng.randrange(2 * MIB, 4 * MIB)}, {"n": 1}])
        other.insert_one({"n": 1})
        connector.wait_not_ready("NATS_OVERSIZE", timeout_s=RETRY_S)
        (reason,) = [reason for reason in connector.reasons() if "NATS_OVERSIZE" in reason]
        assert denied.removesuffix(">") in reason
        assert "sha256" not in reason
        server = deny(start_own_nats, server)
        wait_for_events(connector, 3 * number, timeout_s=2 * RETRY_S)
    deployment.finish(3 * rounds)
    assert connector.log("service.started")


def limit_bucket(deployment: Deployment) -> Callable[[], None]:
    """Leave no room in the bucket."""
    return bucket_of(deployment).limit_bytes(room=MIB)


def limit_stream(deployment: Deployment) -> Callable[[], None]:
    """Leave no room in the stream."""
    return Operator(deployment.nats_url, deployment.stream).limit_messages(room=1)


@pytest.mark.parametrize("limit", [limit_bucket, limit_stream])
@pytest.mark.parametrize(("seed", "rounds"), [(1, 1), pytest.param(2, 20, marks=SOAK)])
def test_full_store_is_waited_for(
    deploy: Deploy,
    start_own_nats: StartNatsServer,
    limit: Callable[[Deployment], Callable[[], None]],
    seed: int,
    rounds: int,
) -> None:
    """Bucket or stream: the reason says what is full, nothing is left behind, and it goes on."""
    rng = random.Random(seed)
    deployment = deploy(nats_server=start_own_nats())
    connector = deployment.start_ready()
    events = write_large(deployment, rng)
    wait_for_events(connector, events)
    for number in range(1, rounds + 1):
        show(number, rounds, limit.__name__)
        undo = limit(deployment)
        events += write_large(deployment, rng)
        connector.wait_not_ready("make room", timeout_s=RETRY_S)
        undo()
        wait_for_events(connector, events, timeout_s=2 * RETRY_S)
    deployment.finish(events)
    check_payloads(deployment, at_least=4 * (rounds + 1))
    state = bucket_of(deployment).info()["state"]
    assert state["num_subjects"] == 2 * len(list(references(deployment)))


def wait_for_events(connector: ConnectorProcess, events: int, *, timeout_s: float = 40) -> None:
    """Wait until one connector has published so many events."""
    wait_until(
        lambda: connector.counted("events_published") >= events,
        timeout_s=timeout_s,
        what=f"{events} events to be published",
    )


def delete_if_there(deployment: Deployment) -> None:
    """Delete the bucket, which the connector may not have made again yet."""
    try:
        bucket_of(deployment).delete()
    except AssertionError as error:
        assert "stream not found" in str(error)  # noqa: PT017 - it is the operator's own


# --- long ids ---------------------------------------------------------------------------------


@pytest.mark.parametrize(("seed", "rounds"), [(1, 3), pytest.param(2, 20, marks=SOAK)])
def test_documents_with_ids_of_megabytes_arrive_once(
    deploy: Deploy, start_own_nats: StartNatsServer, seed: int, rounds: int
) -> None:
    """A resume token holds the document's id: positions stay small, and crashes harmless.

    Up to 2.7 MB: a reply of MongoDB's has the id twice, and in hexadecimal tokens twice more.
    """
    rng = random.Random(seed)
    deployment = deploy(nats_server=start_own_nats())
    connector = deployment.start_ready()
    collection = deployment.db[deployment.collections[0]]
    for number in range(1, rounds + 1):
        key = rng.choice("xyz") * rng.choice([300, 5_000, 400_000, 1_000_000, 2_600_000])
        show(number, rounds, f"an id of {len(key)} characters")
        collection.insert_one({"_id": key})
        collection.insert_one({"_id": number})
        connector.run_for(rng.uniform(0, 1.5))
        if rng.random() < 0.5:
            collection.delete_one({"_id": key})
        else:
            collection.update_one({"_id": key}, {"$set": {"n": 1}})
        connector.run_for(rng.uniform(0, 0.5))
        connector.kill()
        connector = deployment.start()
        collection.delete_many({})
    deployment.finish(range(3 * rounds, 6 * rounds))
    document = deployment.token_document(deployment.collections[0])
    assert document is not None
    assert len(document["token"]) <= 513
