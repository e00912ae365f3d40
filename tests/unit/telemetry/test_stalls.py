"""Stalls of the event loop are measured, and the task is named whose step was long."""

from __future__ import annotations

import time

import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from mnc.telemetry.stalls import NO_STEP, StallWatch

_STALL_S = 0.3


def _work(seconds: float) -> None:
    """Keep the processor, as work does that awaits nothing."""
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        pass


async def _step_long() -> None:
    _work(_STALL_S)
    await trio.lowlevel.checkpoint()


async def _watched(lateness: list[float]) -> StallWatch:
    watch = StallWatch(lateness.append)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(watch.run)
        await wait_all_tasks_blocked()
        nursery.start_soon(_step_long)
        await trio.sleep(_STALL_S)
        await trio.sleep(0.1)
        nursery.cancel_scope.cancel()
    return watch


async def test_a_long_step_is_a_stall_with_a_name() -> None:
    """A task that awaits nothing for a while is the longest stall, and is named."""
    lateness: list[float] = []
    with trio.fail_after(10):
        watch = await _watched(lateness)
    assert watch.longest.seconds >= _STALL_S / 2
    assert watch.longest.during.endswith("_step_long")
    assert max(lateness) == watch.longest.seconds
    assert watch.snapshot()["during"] == watch.longest.during


def test_what_no_step_explains_is_no_tasks_fault() -> None:
    """A loop that was late while no task ran, as when a thread kept the lock, names none."""
    clock = MockClock()
    watch = StallWatch(lambda _: None)

    async def be_late() -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(watch.run)
            await wait_all_tasks_blocked()
            clock.jump(5)
            await wait_all_tasks_blocked()
            nursery.cancel_scope.cancel()

    trio.run(be_late, clock=clock)
    assert watch.longest.seconds > 4
    assert watch.longest.during == NO_STEP


def test_a_loop_that_turns_has_no_stall() -> None:
    """An idle loop in virtual time is never late."""
    watch = StallWatch(lambda _: None)

    async def idle() -> None:
        with trio.move_on_after(100):
            await watch.run()

    trio.run(idle, clock=MockClock(autojump_threshold=0))
    assert watch.longest.seconds == 0


async def test_nothing_is_measured_after_the_end() -> None:
    """A watch that was cancelled hears of no step any more."""
    watch = StallWatch(lambda _: None)
    with trio.fail_after(10):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(watch.run)
            await wait_all_tasks_blocked()
            nursery.cancel_scope.cancel()
        steps_before = watch._step_began_at
        await trio.lowlevel.checkpoint()
    assert watch._step_began_at == steps_before
