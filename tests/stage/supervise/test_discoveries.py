"""Discovery in several databases at once."""

from __future__ import annotations

import random
from collections.abc import Set as AbstractSet

import trio
from tests.fakes.checkpoints import FakeCheckpointStore
from tests.fakes.newcomers import FakeNewcomerSource
from tests.fakes.source import FakeSource
from tests.fakes.virtual_time import virtual_time

from mnc.config import Selections
from mnc.supervise.discoveries import Discoveries
from mnc.supervise.discovery import Discovery
from mnc.supervise.policy import RestartPolicy
from mnc.telemetry.metrics import Metrics
from mnc.telemetry.renewal import DiscoveryTelemetry


def _discoveries(store: FakeCheckpointStore, oplogs: dict[str, FakeSource]) -> Discoveries:
    entries = ["users", "orders_*", "crm.lead_*", "crm.boss"]
    selections = Selections.of(entries, home="shop")
    return Discoveries(
        {
            database: Discovery(
                database=database,
                names=selection.names,
                wants=selection.wants,
                source=FakeNewcomerSource(oplogs[database], selection.wants),
                store=store,
                policy=RestartPolicy(),
                rng=random.Random(0),
                snapshot_first=False,
                lost_history="stop",
                observer=DiscoveryTelemetry(database, Metrics()),
            )
            for database, selection in selections.databases.items()
        },
        home=selections.home,
    )


@virtual_time
async def test_each_database_is_looked_through() -> None:
    """What is found goes by its key, is told at once, and has its document under its database."""
    store, oplogs = FakeCheckpointStore(), {"shop": FakeSource(), "crm": FakeSource()}
    discoveries = _discoveries(store, oplogs)
    heard: list[AbstractSet[str]] = []
    reason = discoveries.not_ready_because()
    assert reason == "database shop: the collections are being looked for"
    async with trio.open_nursery() as nursery:
        nursery.start_soon(discoveries.run, lambda: heard.append(discoveries.known))
        await trio.sleep(2)
        assert discoveries.not_ready_because() is None
        assert heard[-1] == {"users", "crm.boss"}
        oplogs["crm"].write("lead_1")
        oplogs["crm"].write("orders_1")
        await trio.sleep(2)
        assert heard[-1] == {"users", "crm.boss", "crm.lead_1"}
        oplogs["shop"].write("orders_1")
        oplogs["shop"].write("lead_2")
        await trio.sleep(2)
        nursery.cancel_scope.cancel()
    assert heard[-1] == {"users", "crm.boss", "crm.lead_1", "orders_1"}
    assert {str(each) for each in store.checkpoints} == {
        "shop.",
        "crm.",
        "crm.lead_1",
        "shop.orders_1",
    }


@virtual_time
async def test_nothing_to_look_for_is_ready() -> None:
    """Without globs there is nothing to wait for."""
    nothing = Discoveries({}, home="shop")
    await nothing.run(lambda: None)
    assert nothing.not_ready_because() is None
    assert nothing.known == set()
