"""What every source of newcomers does that discovery relies on, fake or real."""

from __future__ import annotations

from collections.abc import Collection

import pytest
import trio
from tests.contract.newcomers import MongoNewcomerHarness, NewcomerHarness

from mnc.config import Selection
from mnc.errors import ForeignPositionError
from mnc.model import ClusterTime
from mnc.supervise.discovery import NewcomerSource

pytestmark = pytest.mark.usefixtures("deadline")


async def _seen(
    source: NewcomerSource, known: Collection[str], since: ClusterTime, *, count: int
) -> list[object]:
    """Return the collections of the first `count` events; of all there are, for 0."""
    stream = await source.open(known, since=since)
    found: list[object] = []
    try:
        while True:
            reply = await stream.next_reply(batch_size=100)
            for change in reply.events:
                namespace = change["ns"]
                assert isinstance(namespace, dict)
                found.append(namespace.get("coll"))
            if len(found) >= count and (count or not reply.events):
                return found
    finally:
        await stream.aclose()


async def test_what_exists_is_listed(newcomers: NewcomerHarness) -> None:
    """The collections that exist and are wanted are listed."""
    for name in ("orders_1", "orders_2", "orders_old", "users"):
        await newcomers.insert(name)
    source = newcomers.source("orders_*", "!orders_old")
    assert set(await source.existing()) == {"orders_1", "orders_2"}


async def test_newcomers_are_seen(newcomers: NewcomerHarness) -> None:
    """Events of what the globs take are shown from a cluster time on, but for what is known."""
    source = newcomers.source("orders_*", "!orders_old")
    await newcomers.insert("orders_0")
    start = await source.current_token()
    for name in ("orders_1", "users", "orders_old", "orders_2", "orders_1"):
        await newcomers.insert(name)
    since = start.cluster_time
    assert await _seen(source, (), since, count=3) == ["orders_1", "orders_2", "orders_1"]
    assert await _seen(source, ["orders_1"], since, count=1) == ["orders_2"]
    assert await _seen(source, ["orders_1", "orders_2"], since, count=0) == []


async def test_a_rename_shows_both_names(
    mongo_newcomers: MongoNewcomerHarness,
) -> None:
    """What something is renamed to is seen with the rename, before anything is written to it."""
    await mongo_newcomers.insert("users")
    source = mongo_newcomers.source("orders_*")
    start = await source.current_token()
    await trio.to_thread.run_sync(mongo_newcomers.changes.database["users"].rename, "orders_1")
    assert await _seen(source, (), start.cluster_time, count=1) == ["users"]
    assert await _seen(source, ["orders_1"], start.cluster_time, count=0) == []


async def test_a_dropped_database_ends_the_stream_once(newcomers: NewcomerHarness) -> None:
    """The stream ends with the database; opened a tick later, it goes on with what comes then."""
    source = newcomers.source("*")
    start = await source.current_token()
    await newcomers.insert("orders_1")
    await newcomers.drop_database()
    stream = await source.open(["orders_1"], since=start.cluster_time)
    while not (reply := await stream.next_reply(batch_size=100)).invalidated:
        pass
    await stream.aclose()
    await newcomers.insert("orders_2")
    ended = reply.token.cluster_time
    since = ClusterTime(ended.seconds, ended.increment + 1)
    assert await _seen(source, ["orders_1"], since, count=1) == ["orders_2"]


async def test_a_time_in_the_future_is_refused(newcomers: NewcomerHarness) -> None:
    """A time that is yet to come, as of another cluster, isn't waited for."""
    source = newcomers.source("*")
    now = (await source.current_token()).cluster_time
    with pytest.raises(ForeignPositionError):
        await _seen(source, (), ClusterTime(now.seconds + 3600, 1), count=0)


async def test_views_and_time_series_are_no_newcomers(
    mongo_newcomers: MongoNewcomerHarness,
) -> None:
    """What has no change events is not listed, and its writes are not seen."""
    source = mongo_newcomers.source("*")
    start = await source.current_token()

    def create() -> None:
        mongo_newcomers.changes.database.create_collection("plain")
        mongo_newcomers.changes.database.create_collection("seen", viewOn="plain", pipeline=[])
        mongo_newcomers.changes.database.create_collection(
            "weather", timeseries={"timeField": "at"}
        )
        mongo_newcomers.changes.database.command({"insert": "plain", "documents": [{"_id": 1}]})
        mongo_newcomers.changes.database["plain"].aggregate([{"$out": "copied"}])

    await trio.to_thread.run_sync(create)
    assert set(await source.existing()) == {"plain", "copied"}
    seen = await _seen(source, ["copied"], start.cluster_time, count=0)
    assert seen == ["plain"]


async def test_the_server_matches_as_python_does(
    mongo_newcomers: MongoNewcomerHarness,
) -> None:
    """Names with wildcards' and expressions' characters in them pass the server's filter alike."""
    entries = ["o*.?", "!*x*", "(a|b)*"]
    names = ["o.1", "oo.é", "o\n.\n", "o1", "ox.1", "o.12", "(a|b)", "(a|b)+", "a", "o.1\n"]
    source = mongo_newcomers.source(*entries)
    start = await source.current_token()
    for name in names:
        await mongo_newcomers.insert(name)
    wanted = [name for name in names if Selection.of(entries).wants(name)]
    assert 0 < len(wanted) < len(names)
    assert await _seen(source, (), start.cluster_time, count=len(wanted)) == wanted
