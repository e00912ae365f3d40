"""Dropped and re-created collections and databases: the change stream ends, the lanes don't."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from tests.deployment import Deploy, Deployment
from tests.waiting import wait_until


def insert(deployment: Deployment, count: int) -> int:
    """Insert and update documents in every collection; return the number of events."""
    for name in deployment.collections:
        collection = deployment.db[name]
        collection.insert_many({"n": n} for n in range(count))
        assert collection.update_many({"n": {"$gte": 0}}, {"$set": {"m": 1}}).acknowledged
    return 2 * count * len(deployment.collections)


def drop_collection(deployment: Deployment) -> None:
    """Drop one of the collections."""
    deployment.db.drop_collection(deployment.collections[0])


def drop_collections(deployment: Deployment) -> None:
    """Drop all the collections."""
    for name in deployment.collections:
        deployment.db.drop_collection(name)


def drop_database(deployment: Deployment) -> None:
    """Drop the database, with the token documents in it."""
    deployment.client.drop_database(deployment.database)


def rename_away(deployment: Deployment) -> None:
    """Give one of the collections another name, so that the next write creates it anew."""
    deployment.db[deployment.collections[0]].rename("elsewhere", dropTarget=True)


def rename_onto(deployment: Deployment) -> None:
    """Have another collection take the place of one of them."""
    deployment.db["spare"].insert_one({"_id": "spare"})
    deployment.db["spare"].rename(deployment.collections[0], dropTarget=True)


def swap(deployment: Deployment) -> None:
    """Have one of the collections take the place of another."""
    source, target = deployment.collections
    deployment.db[source].rename(target, dropTarget=True)


@pytest.mark.parametrize("rounds", [1, pytest.param(50, marks=pytest.mark.soak)])
def test_no_write_is_lost_around_drops_and_renames(deploy: Deploy, rounds: int) -> None:
    """While others write on, whatever happens to a collection costs none of their changes."""
    deployment = deploy()
    deployment.start_ready()
    harms = [rename_away, rename_onto, swap, drop_collections, drop_database]
    with deployment.writer(seed=1, pause_s=0.001) as writer:
        for harm in harms * rounds:
            writer.wait_for_events(20)
            for name in deployment.collections:  # a rename needs one that is there
                deployment.db[name].insert_one({"by": "the test"})
            harm(deployment)
        writer.wait_for_events(20)
    written = 2 * len(harms) * rounds
    possible = writer.possible_events
    deployment.finish(range(possible.start + written, possible.stop + written))


@pytest.mark.parametrize("drop", [drop_collection, drop_collections, drop_database])
def test_drop_and_new_creation_under_a_running_connector_lose_nothing(
    deploy: Deploy, drop: Callable[[Deployment], None]
) -> None:
    """Events before a drop are stored, and so are those after the collection is there again."""
    deployment = deploy()
    deployment.start_ready()
    events = 0
    for _ in range(3):
        events += insert(deployment, 100)
        drop(deployment)
    events += insert(deployment, 100)
    deployment.finish(events)


@pytest.mark.parametrize("drop", [drop_collection, drop_collections, drop_database])
def test_drop_and_new_creation_while_the_connector_is_down_lose_nothing(
    deploy: Deploy, drop: Callable[[Deployment], None]
) -> None:
    """The same holds when the drop lies in the backlog that a new connector finds.

    The token documents go with a dropped database: the position markers are enough.
    """
    deployment = deploy()
    connector = deployment.start_ready()
    events = insert(deployment, 100)
    wait_until(
        lambda: connector.counted("events_published") == events, timeout_s=20, what="all events"
    )
    connector.kill()
    for _ in range(3):
        drop(deployment)
        events += insert(deployment, 100)
    deployment.start()
    deployment.finish(events)


def test_drop_of_the_database_before_the_first_event_loses_nothing(deploy: Deploy) -> None:
    """A dropped database takes the token documents along, but a watched collection stays watched.

    Also when the connector crashes right after, and nothing of the collection is in the stream yet.
    """
    deployment = deploy()
    connector = deployment.start_ready()
    drop_database(deployment)
    connector.kill()
    events = insert(deployment, 10)
    deployment.start()
    deployment.finish(events)
