"""What every register of foundings does that having one group relies on, fake or real."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import pytest
import trio
from pymongo import MongoClient
from tests.contract.registers import MongoRegisterHarness, RegisterHarness
from tests.contract.stores import TOKENS_COLLECTION, MongoStoreHarness
from tests.fakes.values import NAMESPACE, checkpoint
from tests.servers import StartMongod

from mnc.cluster.formation import Founding
from mnc.cluster.messages import GroupId
from mnc.drivers.mongo.connection import MongoConnection
from mnc.errors import CheckpointError, CheckpointUnavailableError
from mnc.raft import NodeId

pytestmark = pytest.mark.usefixtures("deadline")


def _founding(group: str, *, generation: int = 1) -> Founding:
    return Founding(
        group=GroupId(group),
        generation=generation,
        voters=frozenset({NodeId("b"), NodeId("a"), NodeId(group)}),
        state=b'{"any":"\xff\x00 bytes"}',
    )


async def test_nothing_is_founded_at_first(registers: RegisterHarness) -> None:
    """A cluster that was never started has no founding."""
    assert await registers.register().read() is None


async def test_founding_reads_as_it_was_stored(registers: RegisterHarness) -> None:
    """Every instance reads what one has stored, all of it."""
    founding = _founding("first")
    assert await registers.register().found(founding) == founding
    assert await registers.register().read() == founding


async def test_first_founding_of_a_generation_stays(registers: RegisterHarness) -> None:
    """A second group of one generation isn't stored; who tried learns of the first."""
    first = _founding("first")
    await registers.register().found(first)
    assert await registers.register().found(_founding("second")) == first
    assert await registers.register().read() == first


async def test_later_generation_replaces_an_earlier_one(registers: RegisterHarness) -> None:
    """The next generation takes the place of the last one, and nothing goes back."""
    second = _founding("second", generation=2)
    await registers.register().found(_founding("first"))
    assert await registers.register().found(second) == second
    assert await registers.register().found(_founding("late")) == second
    assert await registers.register().read() == second


async def test_racing_founders_agree(registers: RegisterHarness) -> None:
    """Of instances that found at the same time one wins, and all of them learn which."""
    for generation in range(1, 13):
        results: list[Founding] = []

        async def found(number: int, generation: int, results: list[Founding]) -> None:
            founding = _founding(f"group-{number}", generation=generation)
            results.append(await registers.register().found(founding))

        async with trio.open_nursery() as nursery:
            for number in range(8):
                nursery.start_soon(found, number, generation, results)
        assert len(results) == 8
        assert len(set(results)) == 1
        assert await registers.register().read() == results[0]


async def test_racing_generations_end_with_the_last(registers: RegisterHarness) -> None:
    """In whatever order foundings arrive, the highest generation stays, and none goes back."""

    async def found(generation: int) -> None:
        stored = await registers.register().found(_founding("group", generation=generation))
        assert stored.generation >= generation

    async with trio.open_nursery() as nursery:
        for generation in (3, 8, 1, 5, 2, 7, 4, 6):
            nursery.start_soon(found, generation)
    assert await registers.register().read() == _founding("group", generation=8)


async def test_clusters_and_streams_are_kept_apart(registers: RegisterHarness) -> None:
    """Each cluster of each stream has a founding of its own."""
    await registers.register().found(_founding("first"))
    assert await registers.register(cluster="other").read() is None
    assert await registers.register(stream="other").read() is None
    other = _founding("second")
    assert await registers.register(cluster="other").found(other) == other
    assert await registers.register().read() == _founding("first")


@pytest.mark.parametrize("steps", range(4))
async def test_an_abandoned_founding_counts_or_does_not(
    registers: RegisterHarness, steps: int
) -> None:
    """A founding that is cancelled midway is stored or not; what is read afterwards stays."""
    async with trio.open_nursery() as nursery:
        nursery.start_soon(registers.register().found, _founding("first"))
        for _ in range(steps):
            await trio.lowlevel.checkpoint()
        nursery.cancel_scope.cancel()
    stored = await registers.register().found(_founding("second"))
    assert stored in (_founding("first"), _founding("second"))
    assert await registers.register().read() == stored


async def test_a_call_cancelled_early_does_nothing(registers: RegisterHarness) -> None:
    """Cancelled before it begins, a call does nothing, and the register stays usable."""
    register = registers.register()
    with trio.CancelScope() as scope:
        scope.cancel()
        await register.found(_founding("first"))
    with trio.CancelScope() as scope:
        scope.cancel()
        await register.read()
    assert await register.read() is None


async def test_founding_stands_beside_the_token_documents(
    mongo_register: MongoRegisterHarness,
    mongo_store: MongoStoreHarness,
    mongo_client: MongoClient[dict[str, Any]],
    database: str,
) -> None:
    """A founding and the checkpoints of its stream share a collection, and neither is the other."""
    await mongo_register.register().found(_founding("first"))
    assert await mongo_store.store().load(NAMESPACE) is None
    await mongo_store.store().save(NAMESPACE, checkpoint(5, stream_seq=7))
    assert await mongo_register.register().read() == _founding("first")
    documents = mongo_client[database][TOKENS_COLLECTION]
    found = await trio.to_thread.run_sync(
        lambda: [each["_id"] for each in documents.find({"_id.collection": {"$exists": True}})]
    )
    assert found == [{"stream": "cs", "database": "test", "collection": "users"}]


@pytest.mark.parametrize(
    "damage",
    [
        {"$unset": {"group": ""}},
        {"$set": {"generation": "many"}},
        {"$set": {"voters": None}},
        {"$set": {"state": "text"}},
    ],
    ids=str,
)
async def test_a_damaged_founding_is_an_error(
    mongo_register: MongoRegisterHarness,
    mongo_client: MongoClient[dict[str, Any]],
    database: str,
    damage: dict[str, object],
) -> None:
    """A founding that a person spoilt is reported, and not taken for none."""
    register = mongo_register.register()
    await register.found(_founding("first"))
    documents = mongo_client[database][TOKENS_COLLECTION]
    await trio.to_thread.run_sync(documents.update_one, {}, damage)
    with pytest.raises(CheckpointError):
        await register.read()
    with pytest.raises(CheckpointError):
        await register.found(_founding("second"))


async def test_founding_is_read_from_a_primary_that_is_sure_to_be_one(
    mongo_register: MongoRegisterHarness,
    mongo_client: MongoClient[dict[str, Any]],
    database: str,
) -> None:
    """A primary that was replaced without knowing it must not answer with an older founding."""
    commands = mongo_client[database]
    await trio.to_thread.run_sync(lambda: commands.command("profile", 2))
    await mongo_register.register().read()
    await trio.to_thread.run_sync(lambda: commands.command("profile", 0))
    [seen] = await trio.to_thread.run_sync(
        lambda: list(commands["system.profile"].find({"command.find": TOKENS_COLLECTION}))
    )
    assert seen["command"]["readConcern"]["level"] == "linearizable"


async def test_unreachable_mongodb_is_an_error(start_own_mongod: StartMongod) -> None:
    """A server that is gone raises what says that time heals it, reading as founding."""
    mongod = await trio.to_thread.run_sync(start_own_mongod)
    connection = MongoConnection(mongod.database_uri("test"), app_name="contract")
    register = MongoRegisterHarness(connection).register()
    await register.found(_founding("first"))
    mongod.kill()

    async def fails(call: Callable[[], Awaitable[object]]) -> None:
        with pytest.raises(CheckpointUnavailableError):
            await call()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(fails, register.read)
        nursery.start_soon(fails, lambda: register.found(_founding("second")))
    await connection.close()
