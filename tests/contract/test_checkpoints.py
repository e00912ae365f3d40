"""What every store of checkpoints does that resuming relies on, fake or real."""

from __future__ import annotations

from typing import Any

import pytest
import trio
from pymongo import MongoClient
from tests.contract.stores import TOKENS_COLLECTION, MongoStoreHarness, StoreHarness
from tests.fakes.values import NAMESPACE, checkpoint

from mnc.errors import CheckpointError
from mnc.model import (
    Checkpoint,
    Epoch,
    Namespace,
    Position,
    ResumeToken,
    Snapshot,
    StreamSeq,
)

pytestmark = pytest.mark.usefixtures("deadline")

_OTHER = Namespace(database="test", collection="movies")


async def test_nothing_is_there_at_first(stores: StoreHarness) -> None:
    """A collection that was never watched has no checkpoint."""
    assert await stores.store().load(NAMESPACE) is None


async def test_the_first_checkpoint_stays(stores: StoreHarness) -> None:
    """Of two that create, both get the first one's checkpoint, whichever is later."""
    first, second = checkpoint(5, stream_seq=0), checkpoint(9, stream_seq=0)
    assert await stores.store().create(NAMESPACE, first) == first
    assert await stores.store().create(NAMESPACE, second) == first
    assert await stores.store().create(NAMESPACE, checkpoint(1, stream_seq=0)) == first
    assert await stores.store().load(NAMESPACE) == first


async def test_racing_creators_agree(stores: StoreHarness) -> None:
    """Instances that create at the same time all begin at the same position."""
    results: list[Checkpoint] = []

    async def create(number: int) -> None:
        results.append(await stores.store().create(NAMESPACE, checkpoint(number, stream_seq=0)))

    async with trio.open_nursery() as nursery:
        for number in range(8):
            nursery.start_soon(create, number)
    assert len(results) == 8
    assert len(set(results)) == 1
    assert await stores.store().load(NAMESPACE) == results[0]


async def test_a_checkpoint_reads_as_it_was_saved(stores: StoreHarness) -> None:
    """Token, its type bits, fence and epoch come back as they were."""
    token = ResumeToken("82" + "0" * 16 + "2B", type_bits=b"\x82\xc0\x1e")
    saved = Checkpoint(
        position=Position(token=token, epoch=Epoch(2**40)), stream_seq=StreamSeq(2**60)
    )
    await stores.store().save(NAMESPACE, saved)
    loaded = await stores.store().load(NAMESPACE)
    assert loaded == saved
    assert loaded.position.token.type_bits == token.type_bits  # which comparing tokens ignores


async def test_a_snapshot_that_is_under_way_reads_as_it_was_saved(stores: StoreHarness) -> None:
    """How far it is comes back as it was, and so does its end."""
    snapshot = Snapshot(since=ResumeToken("82" + "0" * 16 + "2B"), documents=7, after="CgAAAA==")
    saved = Checkpoint(
        position=Position(token=snapshot.token, snapshot=snapshot), stream_seq=StreamSeq(5)
    )
    await stores.store().create(NAMESPACE, saved)
    assert await stores.store().load(NAMESPACE) == saved
    ended = Checkpoint(position=Position(token=snapshot.end), stream_seq=StreamSeq(5))
    await stores.store().save(NAMESPACE, ended)
    assert await stores.store().load(NAMESPACE) == ended


async def test_a_later_checkpoint_replaces_an_earlier_one(stores: StoreHarness) -> None:
    """Saving moves the checkpoint on, all its fields together."""
    await stores.store().create(NAMESPACE, checkpoint(1, stream_seq=0))
    later = checkpoint(2, stream_seq=7, epoch=3)
    await stores.store().save(NAMESPACE, later)
    assert await stores.store().load(NAMESPACE) == later


@pytest.mark.parametrize("number", [1, 5])
async def test_a_checkpoint_never_goes_back(stores: StoreHarness, number: int) -> None:
    """Saving what is earlier, or as early, changes nothing and is no error."""
    later = checkpoint(5, stream_seq=7)
    await stores.store().save(NAMESPACE, later)
    await stores.store().save(NAMESPACE, checkpoint(number, stream_seq=99))
    assert await stores.store().load(NAMESPACE) == later


async def test_racing_saves_keep_the_latest(stores: StoreHarness) -> None:
    """Whatever the order in which saves arrive, the latest position stays."""
    async with trio.open_nursery() as nursery:
        for number in (3, 8, 1, 5, 2, 7, 4, 6):
            store = stores.store()
            nursery.start_soon(store.save, NAMESPACE, checkpoint(number, stream_seq=number))
    assert await stores.store().load(NAMESPACE) == checkpoint(8, stream_seq=8)


async def test_collections_are_kept_apart(stores: StoreHarness) -> None:
    """Each collection has a checkpoint of its own."""
    await stores.store().save(NAMESPACE, checkpoint(5, stream_seq=7))
    assert await stores.store().load(_OTHER) is None
    await stores.store().save(_OTHER, checkpoint(2, stream_seq=8))
    assert await stores.store().load(NAMESPACE) == checkpoint(5, stream_seq=7)
    assert await stores.store().load(_OTHER) == checkpoint(2, stream_seq=8)


async def test_streams_are_kept_apart(stores: StoreHarness) -> None:
    """Two streams that are filled from one collection have checkpoints of their own."""
    await stores.store("cs").save(NAMESPACE, checkpoint(5, stream_seq=7))
    assert await stores.store("other").load(NAMESPACE) is None


async def test_what_has_a_checkpoint_can_be_listed(stores: StoreHarness) -> None:
    """The names of one database and one stream are listed, and no others."""
    assert list(await stores.store().watched(NAMESPACE.database)) == []
    await stores.store().save(NAMESPACE, checkpoint(1, stream_seq=0))
    await stores.store().create(_OTHER, checkpoint(1, stream_seq=0))
    elsewhere = Namespace(database="elsewhere", collection="users")
    await stores.store().save(elsewhere, checkpoint(1, stream_seq=0))
    await stores.store("other").save(NAMESPACE, checkpoint(1, stream_seq=0))
    assert set(await stores.store().watched(NAMESPACE.database)) == {"users", "movies"}


@pytest.mark.parametrize("steps", range(4))
async def test_an_abandoned_save_does_no_harm(stores: StoreHarness, steps: int) -> None:
    """A save that is cancelled midway may still happen, and never replaces a later one."""
    async with trio.open_nursery() as nursery:
        nursery.start_soon(stores.store().save, NAMESPACE, checkpoint(1, stream_seq=1))
        for _ in range(steps):
            await trio.lowlevel.checkpoint()
        nursery.cancel_scope.cancel()
    assert await stores.store().load(NAMESPACE) in (None, checkpoint(1, stream_seq=1))
    await stores.store().save(NAMESPACE, checkpoint(2, stream_seq=2))
    assert await stores.store().load(NAMESPACE) == checkpoint(2, stream_seq=2)


async def test_a_call_cancelled_early_does_nothing(stores: StoreHarness) -> None:
    """Cancelled before it begins, a call does nothing, and the store stays usable."""
    store = stores.store()
    with trio.CancelScope() as scope:
        scope.cancel()
        await store.save(NAMESPACE, checkpoint(1, stream_seq=1))
    with trio.CancelScope() as scope:
        scope.cancel()
        await store.create(NAMESPACE, checkpoint(2, stream_seq=2))
    with trio.CancelScope() as scope:
        scope.cancel()
        await store.load(NAMESPACE)
    assert await store.load(NAMESPACE) is None
    await store.save(NAMESPACE, checkpoint(3, stream_seq=3))
    assert await store.load(NAMESPACE) == checkpoint(3, stream_seq=3)


@pytest.mark.parametrize(
    "damage",
    [
        {"$unset": {"token": ""}},
        {"$unset": {"streamSeq": ""}},
        {"$set": {"streamSeq": "many"}},
        {"$set": {"epoch": None}},
        {"$set": {"token": "8"}},
        {"$set": {"token": "not hexadecimal, however long"}},
    ],
    ids=str,
)
async def test_a_damaged_document_is_an_error_of_its_collection(
    mongo_store: MongoStoreHarness,
    mongo_client: MongoClient[dict[str, Any]],
    database: str,
    damage: dict[str, object],
) -> None:
    """A token document that a person spoilt stops its collection, and nothing else."""
    store = mongo_store.store()
    await store.save(NAMESPACE, checkpoint(5, stream_seq=7))
    await trio.to_thread.run_sync(mongo_client[database][TOKENS_COLLECTION].update_one, {}, damage)
    with pytest.raises(CheckpointError):
        await store.load(NAMESPACE)


async def test_saves_that_come_together_go_together(
    mongo_store: MongoStoreHarness, mongo_client: MongoClient[dict[str, Any]]
) -> None:
    """However many collections save at once, MongoDB gets two commands."""

    async def commands() -> int:
        status = await trio.to_thread.run_sync(mongo_client.admin.command, "serverStatus")
        return int(status["metrics"]["commands"]["update"]["total"])

    store = mongo_store.store()
    names = [Namespace(database="test", collection=f"c{number}") for number in range(50)]
    before = await commands()
    async with trio.open_nursery() as nursery:
        for name in names:
            nursery.start_soon(store.save, name, checkpoint(5, stream_seq=7))
    assert await commands() - before <= 2
    for name in names:
        assert await store.load(name) == checkpoint(5, stream_seq=7)


async def test_a_save_that_is_refused_fails_alone(
    mongo_store: MongoStoreHarness, mongo_client: MongoClient[dict[str, Any]], database: str
) -> None:
    """Of saves that go together the good ones are stored, and each of the others has its error."""
    allowed = {"_id.collection": {"$ne": _OTHER.collection}}
    await trio.to_thread.run_sync(
        lambda: mongo_client[database].create_collection(TOKENS_COLLECTION, validator=allowed)
    )
    store = mongo_store.store()
    failed = list[str]()

    async def save(namespace: Namespace) -> None:
        try:
            await store.save(namespace, checkpoint(5, stream_seq=7))
        except CheckpointError:
            failed.append(namespace.collection)

    names = [Namespace(database="test", collection=name) for name in ("a", "b", "c")]
    await store.save(names[0], checkpoint(9, stream_seq=9))
    async with trio.open_nursery() as nursery:
        for name in (names[2], _OTHER, *names):
            nursery.start_soon(save, name)
    assert failed == [_OTHER.collection]
    assert await store.load(names[0]) == checkpoint(9, stream_seq=9)
    assert await store.load(names[1]) == checkpoint(5, stream_seq=7)
    assert await store.load(_OTHER) is None


async def test_a_cancelled_save_takes_no_other_along(mongo_store: MongoStoreHarness) -> None:
    """Who waits for a write that is cancelled has its own written all the same."""
    store = mongo_store.store()
    first = Namespace(database="test", collection="first")
    scope = trio.CancelScope()

    async def be_cancelled() -> None:
        with scope:
            await store.save(first, checkpoint(1, stream_seq=1))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(be_cancelled)
        await trio.lowlevel.checkpoint()
        nursery.start_soon(store.save, _OTHER, checkpoint(2, stream_seq=2))
        await trio.lowlevel.checkpoint()
        scope.cancel()
    assert await store.load(_OTHER) == checkpoint(2, stream_seq=2)
