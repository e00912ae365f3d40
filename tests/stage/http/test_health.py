"""Health checks on virtual time: their deadline, and how many a burst of requests costs."""

from __future__ import annotations

import pytest
import trio
from tests.stage.http.serving import answer_up, raise_down
from trio.testing import MockClock

from mnc.http.health import Health, ServerState

DEADLINE_S = 2.0


class CountingCheck:
    """A check that takes a second and counts how often it ran."""

    def __init__(self) -> None:
        self.runs = 0

    async def __call__(self) -> None:
        """Count a run and take a second over it."""
        self.runs += 1
        await trio.sleep(1)


async def test_states_keep_the_order_of_the_checks() -> None:
    """Each server has its own state, in the order of the checks, whichever ends first."""
    health = Health({"a": raise_down, "b": answer_up}, deadline_s=DEADLINE_S)
    assert list((await health.states()).items()) == [("a", "DOWN"), ("b", "UP")]


async def test_hanging_check_is_down_at_the_deadline(autojump_clock: MockClock) -> None:
    """Two checks that hang are DOWN after one deadline, not after two."""
    health = Health(
        {"a": trio.sleep_forever, "b": trio.sleep_forever, "c": answer_up}, deadline_s=DEADLINE_S
    )
    began = autojump_clock.current_time()
    assert await health.states() == {"a": "DOWN", "b": "DOWN", "c": "UP"}
    assert autojump_clock.current_time() - began == pytest.approx(DEADLINE_S)


async def test_checks_run_at_the_same_time(autojump_clock: MockClock) -> None:
    """Checks of a second each take a second together."""
    health = Health({"a": CountingCheck(), "b": CountingCheck()}, deadline_s=DEADLINE_S)
    began = autojump_clock.current_time()
    assert await health.states() == {"a": "UP", "b": "UP"}
    assert autojump_clock.current_time() - began == pytest.approx(1)


async def test_burst_shares_one_run(autojump_clock: MockClock) -> None:
    """However many ask at once, the server is asked once and all get its answer."""
    check = CountingCheck()
    health = Health({"a": check}, deadline_s=DEADLINE_S)
    answers: list[ServerState] = []

    async def ask() -> None:
        answers.append((await health.states())["a"])

    began = autojump_clock.current_time()
    async with trio.open_nursery() as nursery:
        for _ in range(50):
            nursery.start_soon(ask)
    assert answers == ["UP"] * 50
    assert check.runs == 1
    assert autojump_clock.current_time() - began == pytest.approx(1)


async def test_old_answer_is_not_reused(autojump_clock: MockClock) -> None:
    """An answer stands for a second; then the server is asked again."""
    check = CountingCheck()
    health = Health({"a": check}, deadline_s=DEADLINE_S)
    await health.states()
    await trio.sleep(0.9)
    await health.states()
    assert check.runs == 1
    await trio.sleep(0.2)
    await health.states()
    assert check.runs == 2
    assert autojump_clock.current_time() > 0


async def test_cancelled_asker_leaves_the_checks_to_the_next(autojump_clock: MockClock) -> None:
    """An asker that is cancelled takes its checks along; whoever waited runs them anew."""
    check = CountingCheck()
    health = Health({"a": check}, deadline_s=DEADLINE_S)
    cancelled = trio.CancelScope()

    async def ask_and_give_up() -> None:
        with cancelled:
            await health.states()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(ask_and_give_up)
        await trio.testing.wait_all_tasks_blocked()
        nursery.start_soon(_cancel_after, 0.5, cancelled)
        assert await health.states() == {"a": "UP"}
    assert cancelled.cancelled_caught
    assert check.runs == 2
    assert autojump_clock.current_time() == pytest.approx(1.5)


async def _cancel_after(delay_s: float, scope: trio.CancelScope) -> None:
    await trio.sleep(delay_s)
    scope.cancel()


async def test_bug_in_a_check_is_not_a_state() -> None:
    """An error that isn't an MncError passes through instead of looking like an outage."""

    async def check() -> None:
        await trio.lowlevel.checkpoint()
        raise ZeroDivisionError

    with pytest.RaisesGroup(ZeroDivisionError):
        await Health({"a": check}, deadline_s=DEADLINE_S).states()
