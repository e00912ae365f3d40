"""Detaching: a reader that waits too long for one lane goes on for the others."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import trio
from tests.fakes.virtual_time import virtual_time
from tests.stage.capture.reading import Reading, take_all

from mnc.capture.reader import Reader
from mnc.capture.route import Route
from mnc.model import ResumeToken

_BUDGET_BYTES = 40_000
_EVENTS = 100
"""So many events of a lane are more than the budget holds."""


class _Detaching:
    """Notes the routes that a reader detaches."""

    def __init__(self, *, agrees: bool = True) -> None:
        self.routes: list[tuple[Route, float]] = []
        self._agrees = agrees

    def __call__(self, route: Route, /) -> bool:
        self.routes.append((route, trio.current_time()))
        return self._agrees


async def _store(route: Route, every_s: float) -> None:
    """Store one event after the other."""
    while events := await route.take(max_events=1, max_bytes=1):
        await trio.sleep(every_s)
        route.settle(events)


def _write(reading: Reading, collection: str, *, events: int = _EVENTS) -> None:
    for _ in range(events):
        reading.source.write(collection)


async def _run(reader: Reader, seconds: float) -> None:
    """Run a reader for a while, and cancel it."""
    with trio.move_on_after(seconds):
        await reader.run()


@virtual_time
async def test_a_route_that_is_stuck_is_detached() -> None:
    """After its patience a reader goes on for the others; the route stands where it stood."""
    reading = Reading(budget_bytes=_BUDGET_BYTES)
    stuck, flowing = reading.route("stuck"), reading.route("flowing")
    _write(reading, "stuck")
    _write(reading, "flowing", events=5)
    detaching = _Detaching()
    reader = reading.reader(stuck, flowing, detach=detaching)
    await _run(reader, 2.5)
    ((detached, at),) = detaching.routes
    assert detached is stuck
    assert at == pytest.approx(1.0, abs=0.2)
    assert list(reader.routes) == [flowing]
    assert [it.token for it in take_all(flowing)] == reading.tokens("flowing")
    delivered = [it.token for it in take_all(stuck)]
    assert stuck.frontier == delivered[-1]
    assert [*delivered, *await _read_rest(reading, stuck)] == reading.tokens("stuck")


async def _read_rest(reading: Reading, route: Route) -> Sequence[ResumeToken]:
    """Read for a route until the end of the oplog; return the tokens of what it got."""
    got: list[ResumeToken] = []
    while route.frontier < reading.source.tokens(route.collection)[-1]:
        await _run(reading.reader(route), 1)
        got += [it.token for it in take_all(route)]
    return got


@virtual_time
async def test_a_detached_route_is_out_of_the_open_stream_for_good() -> None:
    """Taken over again before the stream is opened anew, it misses nothing of what was skipped."""
    reading = Reading(budget_bytes=_BUDGET_BYTES)
    stuck, flowing = reading.route("stuck"), reading.route("flowing")
    _write(reading, "stuck")
    detaching = _Detaching()
    reader = reading.reader(stuck, flowing, detach=detaching)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(reader.run)
        await trio.sleep(2)
        assert detaching.routes
        got = [it.token for it in take_all(stuck)]
        got += await _read_rest(reading, stuck)
        reading.source.write("stuck")
        assert reader.offer(reading.reader(stuck))
        reading.source.write("stuck")
        await trio.sleep(5)
        reader.stop()
    got += [it.token for it in take_all(stuck)]
    assert got == reading.tokens("stuck")


@virtual_time
async def test_a_slow_route_is_detached_although_it_moves() -> None:
    """Many short waits are one long one for those who wait behind them."""
    reading = Reading(budget_bytes=400_000)
    slow, flowing = reading.route("slow"), reading.route("flowing")
    for _ in range(300):
        reading.source.write("slow", padding_bytes=20_000)  # a reply of them takes half a second
    detaching = _Detaching()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_store, slow, 0.02)
        await _run(reading.reader(slow, flowing, detach=detaching), 5)
        nursery.cancel_scope.cancel()
    ((detached, at),) = detaching.routes
    assert detached is slow
    assert at < 3


@virtual_time
async def test_a_route_that_waits_for_space_is_not_detached() -> None:
    """What others hold is not the fault of a lane that holds nothing itself."""
    reading = Reading(budget_bytes=_BUDGET_BYTES)
    await reading.budget.open_account().reserve(30_000)
    large, flowing = reading.route("large"), reading.route("flowing")
    reading.source.write("large", padding_bytes=20_000)
    detaching = _Detaching()
    await _run(reading.reader(large, flowing, detach=detaching), 60)
    assert detaching.routes == []


@virtual_time
async def test_bursts_that_are_stored_in_time_detach_nothing() -> None:
    """Patience begins anew each time that the end of the oplog has been reached."""
    reading = Reading(budget_bytes=_BUDGET_BYTES)
    busy, quiet = reading.route("busy"), reading.route("quiet")
    detaching = _Detaching()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_store, busy, 0.01)
        nursery.start_soon(_run, reading.reader(busy, quiet, detach=detaching), 100)
        for _ in range(20):
            _write(reading, "busy", events=80)
            await trio.sleep(2)
        nursery.cancel_scope.cancel()
    assert reading.observer.waits_s["busy"] > 5
    assert detaching.routes == []


@virtual_time
async def test_a_reader_of_one_lane_waits_for_it() -> None:
    """Alone, a route holds up nobody."""
    reading = Reading(budget_bytes=_BUDGET_BYTES)
    _write(reading, "stuck")
    detaching = _Detaching()
    await _run(reading.reader(reading.route("stuck"), detach=detaching), 60)
    assert detaching.routes == []


@virtual_time
async def test_nothing_is_detached_while_all_lanes_are_stuck() -> None:
    """When nobody stores anything, as while the broker is away, going on helps nobody."""
    reading = Reading(budget_bytes=_BUDGET_BYTES)
    routes = [reading.route(name) for name in ("a", "b", "c")]
    _write(reading, "b", events=1)
    _write(reading, "c", events=1)
    _write(reading, "a")
    detaching = _Detaching()
    await _run(reading.reader(*routes, detach=detaching), 60)
    assert detaching.routes == []


@virtual_time
async def test_a_route_that_nobody_else_can_read_for_is_waited_for() -> None:
    """Refused, a reader delivers on in place, and asks again now and then."""
    reading = Reading(budget_bytes=_BUDGET_BYTES)
    stuck, flowing = reading.route("stuck"), reading.route("flowing")
    _write(reading, "stuck")
    _write(reading, "flowing", events=5)
    detaching = _Detaching(agrees=False)
    reader = reading.reader(stuck, flowing, detach=detaching)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(reader.run)
        await trio.sleep(10)
        assert 5 <= len(detaching.routes) <= 200
        nursery.start_soon(_store, stuck, 0.001)
        await trio.sleep(2)
        assert stuck.frontier >= reading.tokens("stuck")[-1]
        assert stuck.is_settled
        assert [it.token for it in take_all(flowing)] == reading.tokens("flowing")
        nursery.cancel_scope.cancel()


@virtual_time
async def test_a_lane_that_ends_while_it_is_waited_for_is_not_detached() -> None:
    """A lane that fails lets its reader go on at once."""
    reading = Reading(budget_bytes=_BUDGET_BYTES)
    stuck, flowing = reading.route("stuck"), reading.route("flowing")
    _write(reading, "stuck")
    _write(reading, "flowing", events=5)
    detaching = _Detaching()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_run, reading.reader(stuck, flowing, detach=detaching), 5)
        await trio.sleep(0.5)
        stuck.close()
        await trio.sleep(0.1)
        assert [it.token for it in take_all(flowing)] == reading.tokens("flowing")
    assert detaching.routes == []
