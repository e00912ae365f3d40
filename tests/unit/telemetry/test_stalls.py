"""Stalls of the event loop are measured, and the task is named whose step was long."""

from __future__ import annotations

import time

import trio
from trio.testing import wait_all_tasks_blocked

from mnc.telemetry.stalls import NO_STEP, StallWatch

_STALL_S = 0.3


class _Clock:
    """A clock that is set by hand."""

    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


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
    assert watch.longest.seconds >= _STALL_S
    assert watch.longest.during.endswith("_step_long")
    assert max(lateness) == watch.longest.seconds
    assert watch.snapshot()["during"] == watch.longest.during


def test_what_no_step_explains_is_no_tasks_fault() -> None:
    """A loop that goes on later than something was due, as when a thread kept the lock, names none.

    One that is woken before anything is due is not late, however long it has waited.
    """
    clock, lateness = _Clock(), list[float]()
    watch = StallWatch(lateness.append, clock=clock)
    watch.before_io_wait(10)
    clock.now_s = 9
    watch.after_io_wait(10)
    assert watch.longest.seconds == 0
    watch.before_io_wait(1)
    clock.now_s = 15
    watch.after_io_wait(1)
    assert watch.longest.seconds == 5
    assert watch.longest.during == NO_STEP
    assert lateness == [0, 5]


def test_the_longest_in_a_while_is_told() -> None:
    """However often the loop turns, no more is told than the longest of each twentieth second."""
    clock, lateness = _Clock(), list[float]()
    watch = StallWatch(lateness.append, clock=clock)
    for turn in range(100):
        clock.now_s += 0.002 if turn == 30 else 0.001
        watch.before_io_wait(0)
        watch.after_io_wait(0)
    assert len(lateness) == 2
    assert 0.0019 < max(lateness) < 0.0021


async def test_a_process_at_rest_is_left_at_rest() -> None:
    """Measuring has no time of its own: nothing is due while nothing else is."""
    watch = StallWatch(lambda _: None)
    with trio.fail_after(10):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(watch.run)
            await wait_all_tasks_blocked()
            deadlines = trio.lowlevel.current_statistics().seconds_to_next_deadline
            nursery.cancel_scope.cancel()
    assert deadlines > 5  # the test's own


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
