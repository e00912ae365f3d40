"""Collections share a change stream with those that want the same of it, and with no others."""

from __future__ import annotations

import trio
from tests.fakes.faults import Script
from tests.fakes.stream import PublishFault
from tests.fakes.virtual_time import virtual_time
from tests.stage.process import Process, World

from mnc.capture.options import CaptureOptions
from mnc.errors import StreamFullError

_ALIKE = ("users", "movies")
_OTHERS = ("orders", "carts")
_NAMES = (*_ALIKE, *_OTHERS)
_BARE = CaptureOptions(full_document="off")


def _process(world: World) -> Process:
    process = Process(world, *_NAMES)
    process.workshop.options = dict.fromkeys(_OTHERS, _BARE)
    return process


def _open_readers(world: World, process: Process) -> dict[CaptureOptions, set[str]]:
    """Return what the readers that run read, by their options; each is the only one."""
    readers = [reader for reader in process.workshop.readers if reader.routes]
    assert sum(not stream.is_closed for stream in world.source.streams) == len(readers)
    found = {reader.options: {route.collection for route in reader.routes} for reader in readers}
    assert len(found) == len(readers)
    return found


@virtual_time
async def test_a_cohort_has_a_reader_for_each_kind_of_stream() -> None:
    """Lanes that start together share one reader with those alike, and all events are stored."""
    world = World()
    process = _process(world)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(process.run)
        await trio.sleep(1)
        assert process.is_ready
        world.write(*_NAMES)
        await trio.sleep(1)
        assert _open_readers(world, process) == {
            CaptureOptions(): set(_ALIKE),
            _BARE: set(_OTHERS),
        }
        process.stop()
    assert world.is_exact(*_NAMES)


@virtual_time
async def test_a_lane_that_came_back_joins_those_alike() -> None:
    """A reader hands its lanes to one of its own kind, however much older another is."""
    world = World()
    process = _process(world)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(process.run)
        await trio.sleep(2)
        world.stream.publish_faults = Script[PublishFault](*[StreamFullError("full")] * 4)
        world.write(*_NAMES)
        await trio.sleep(120)
        assert _open_readers(world, process) == {
            CaptureOptions(): set(_ALIKE),
            _BARE: set(_OTHERS),
        }
        world.write(*_NAMES)
        await trio.sleep(1)
        process.stop()
    assert world.is_exact(*_NAMES)
