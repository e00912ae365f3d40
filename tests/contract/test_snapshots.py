"""Snapshots on both kinds of stream: how far one is stands in a marker, or in its last event."""

from __future__ import annotations

from collections import Counter

import pytest
from tests.contract.streams import JetStreamHarness
from tests.fakes.checkpoints import FakeCheckpointStore, WriteFault
from tests.fakes.faults import Script
from tests.stage.lane_world import LaneWorld

from mnc.errors import CheckpointUnavailableError, SourceUnavailableError

pytestmark = pytest.mark.usefixtures("deadline")

_AWAY = CheckpointUnavailableError("away")


async def _world(harness: JetStreamHarness) -> LaneWorld:
    """Return a world in which 200 documents are there already."""
    await harness.port.ensure()
    world = LaneWorld(port=harness.port, name=harness.name)
    for number in range(200):
        world.source.write("users", document_id=number)
    return world


async def _goes_on(harness: JetStreamHarness) -> None:
    """Break a snapshot off, lose its token document, and let it go on."""
    world = await _world(harness)
    world.documents.read_faults = Script(None, None, SourceUnavailableError("away"))
    with pytest.raises(SourceUnavailableError):
        await world.lane(await world.acquire(snapshot_first=True)).run()
    world.store = FakeCheckpointStore()
    under_way = await world.acquire(snapshot_first=True)
    assert under_way.position.snapshot is not None
    assert under_way.position.snapshot.documents == 160
    await world.lane(under_way).run()
    ended = await world.acquire(snapshot_first=True)
    assert ended.position.snapshot is None
    assert ended.position.token > under_way.position.token
    reads = Counter(it.subject for it in await harness.stored() if ".read." in it.subject)
    assert len(reads) == reads.total() == 200


async def test_a_snapshot_goes_on_behind_its_marker(jetstream: JetStreamHarness) -> None:
    """The stream alone says how far it is, and nothing is stored twice."""
    await _goes_on(jetstream)


async def test_a_snapshot_goes_on_behind_its_last_event(unbatched: JetStreamHarness) -> None:
    """So it is without batches, where a header of the last document says it."""
    await _goes_on(unbatched)


async def test_the_end_of_a_snapshot_is_durable_without_batches(
    unbatched: JetStreamHarness,
) -> None:
    """A lane whose token document can't be written fails, and its successor ends once more."""
    world = await _world(unbatched)
    reached = await world.acquire(snapshot_first=True)
    world.store.write_faults = lambda: _AWAY
    with pytest.raises(CheckpointUnavailableError):
        await world.lane(reached).run()
    world.store.write_faults = Script[WriteFault]()
    again = await world.acquire(snapshot_first=True)
    assert again.position.snapshot is not None
    assert again.position.snapshot.documents == 200
    await world.lane(again).run()
    assert (await world.acquire(snapshot_first=True)).position.snapshot is None
