"""Two instances that both believe that they own a collection, with different epochs."""

from __future__ import annotations

import trio
from tests.fakes.virtual_time import virtual_time
from tests.stage.process import Process, World

from mnc.errors import NotOwnerError
from mnc.telemetry.lane import Capturing, Restarting


@virtual_time
async def test_an_owner_that_was_replaced_stands_down() -> None:
    """It notices at its next batch, says so, and stores nothing; the stream stays exact."""
    world = World()
    old, new = Process(world, "users", epoch=1), Process(world, "users", epoch=2, seed=1)
    epochs = []

    async def watch() -> None:
        while True:
            marker = world.marker("users")
            epochs.append(0 if marker is None else marker.position.epoch)
            await trio.sleep(0.0004)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(watch)
        nursery.start_soon(old.run)
        await trio.sleep(1)
        for number in range(200):
            world.write("users", count=3)
            await trio.sleep(0.01)
            if number == 50:
                nursery.start_soon(new.run)
        await trio.sleep(1)
        assert world.is_exact("users")
        assert new.lanes["users"].state == Capturing()
        state = old.lanes["users"].state
        assert isinstance(state, Restarting)
        assert isinstance(state.error, NotOwnerError)
        old.stop()
        new.stop()
        nursery.cancel_scope.deadline = trio.current_time() + 5
    assert epochs == sorted(epochs)
    assert set(epochs) == {0, 1, 2}


@virtual_time
async def test_an_owner_that_is_appointed_again_goes_on() -> None:
    """A later epoch ends the waiting of an instance that had stood down, at once."""
    world = World()
    old, new = Process(world, "users", epoch=1), Process(world, "users", epoch=2, seed=1)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(new.run)
        await trio.sleep(1)
        nursery.start_soon(old.run)
        await trio.sleep(600)
        new.assign()
        old.assign("users", epoch=3)
        await trio.sleep(0.1)
        world.write("users")
        await trio.sleep(0.5)
        assert world.is_exact("users")
        assert len(world.stored("users")) == 1
        assert old.lanes["users"].state == Capturing()
        old.stop()
        new.stop()
