"""A keeper: the newest position, written behind the publishing."""

from __future__ import annotations

import random
from collections.abc import Sequence
from itertools import pairwise

import pytest
import trio
from tests.fakes.checkpoints import FakeCheckpointStore, Unacknowledged, WriteFault
from tests.fakes.faults import Script
from tests.fakes.observer import RecordingObserver
from tests.fakes.values import NAMESPACE, checkpoint
from tests.fakes.virtual_time import virtual_time

from mnc.checkpoint.keeper import CheckpointKeeper
from mnc.errors import CheckpointError, CheckpointUnavailableError
from mnc.model import Checkpoint, Namespace

_INTERVAL_S = 1.0
_AWAY = CheckpointUnavailableError("no primary")


class _Watched(FakeCheckpointStore):
    """A store that notes when a write begins, and how many run at once."""

    def __init__(self, *faults: WriteFault | None, latency_s: float = 0.001) -> None:
        super().__init__(latency=lambda: latency_s)
        self.write_faults = Script[WriteFault](*faults)
        self.began_at: list[float] = []
        self.running = 0
        self.highest = 0

    async def save(self, namespace: Namespace, checkpoint: Checkpoint) -> None:
        self.began_at.append(trio.current_time())
        self.running += 1
        self.highest = max(self.highest, self.running)
        try:
            await super().save(namespace, checkpoint)
        finally:
            self.running -= 1

    @property
    def gaps_s(self) -> Sequence[float]:
        return [after - before for before, after in pairwise(self.began_at)]

    @property
    def tokens(self) -> Sequence[int]:
        return [it.position.token.cluster_time.increment for it in self.writes]


def _keeper(
    store: FakeCheckpointStore, observer: RecordingObserver | None = None
) -> CheckpointKeeper:
    return CheckpointKeeper(
        store=store,
        namespace=NAMESPACE,
        interval_s=_INTERVAL_S,
        observer=observer or RecordingObserver(),
        rng=random.Random(1),
    )


@virtual_time
async def test_the_first_position_is_written_at_once() -> None:
    """A position doesn't wait for the interval when none was written before."""
    store, observer = _Watched(), RecordingObserver()
    keeper = _keeper(store, observer)
    with trio.move_on_after(0.01):
        keeper.advance(checkpoint(1, stream_seq=5))
        await keeper.run()
    assert store.checkpoints == {NAMESPACE: checkpoint(1, stream_seq=5)}
    assert observer.checkpoints == [checkpoint(1, stream_seq=5)]


@virtual_time
async def test_a_position_after_a_quiet_while_is_written_at_once() -> None:
    """A keeper that has nothing to do waits for the next position and not for its interval."""
    store = _Watched()
    keeper = _keeper(store)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(keeper.run)
        for number in range(1, 10):
            await trio.sleep(10 + number / 10)
            keeper.advance(checkpoint(number, stream_seq=number))
            await trio.sleep(0.01)
            assert store.tokens[-1] == number
        nursery.cancel_scope.cancel()


@virtual_time
async def test_a_position_that_comes_during_a_write_is_written_next() -> None:
    """What is noted while a write is in flight isn't taken for written with it."""
    store = _Watched(latency_s=5.0)
    keeper = _keeper(store)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(keeper.run)
        keeper.advance(checkpoint(1, stream_seq=1))
        await trio.sleep(1)
        keeper.advance(checkpoint(2, stream_seq=2))
        await trio.sleep(60)
        nursery.cancel_scope.cancel()
    assert store.tokens == [1, 2]


@virtual_time
async def test_writes_keep_to_the_interval_and_to_the_newest() -> None:
    """However fast positions come, one is written an interval, and each time the newest."""
    store = _Watched()
    keeper = _keeper(store)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(keeper.run)
        for number in range(1, 101):
            keeper.advance(checkpoint(number, stream_seq=number))
            await trio.sleep(0.1)
        nursery.cancel_scope.cancel()
    assert len(store.tokens) == 10
    assert store.tokens == sorted(store.tokens)
    gaps = store.gaps_s
    assert min(gaps) >= _INTERVAL_S


@virtual_time
async def test_one_write_is_in_flight() -> None:
    """A slow store gets its next write only after the one before it."""
    store = _Watched(latency_s=5.0)
    keeper = _keeper(store)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(keeper.run)
        for number in range(1, 101):
            keeper.advance(checkpoint(number, stream_seq=number))
            await trio.sleep(0.5)
        nursery.cancel_scope.cancel()
    assert store.highest == 1
    assert len(store.tokens) >= 5


@virtual_time
async def test_nothing_is_written_twice() -> None:
    """A position that is written already is not written again."""
    store = _Watched()
    keeper = _keeper(store)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(keeper.run)
        for _ in range(10):
            keeper.advance(checkpoint(1, stream_seq=5))
            await trio.sleep(2)
        nursery.cancel_scope.cancel()
    await keeper.flush()
    assert len(store.began_at) == 1


@virtual_time
async def test_a_failed_write_is_tried_again_with_the_newest() -> None:
    """While writes fail nothing is given up; when they work, the newest position is written."""
    store, observer = _Watched(*[_AWAY] * 5), RecordingObserver()
    keeper = _keeper(store, observer)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(keeper.run)
        for number in range(1, 4):
            keeper.advance(checkpoint(number, stream_seq=number))
            await trio.sleep(0.01)
        await trio.sleep(100)
        nursery.cancel_scope.cancel()
    assert store.tokens == [3]
    assert observer.checkpoint_failures == [_AWAY] * 5
    assert observer.checkpoints == [checkpoint(3, stream_seq=3)]


@virtual_time
async def test_failing_writes_back_off() -> None:
    """The longer a store fails, the longer the pauses, up to ten seconds."""
    store = _Watched(*[_AWAY] * 1000)
    keeper = _keeper(store)
    keeper.advance(checkpoint(1, stream_seq=1))
    with trio.move_on_after(600):
        await keeper.run()
    gaps = store.gaps_s
    assert gaps[0] < 0.3
    assert 5 <= gaps[-1] <= 10.01
    assert len(gaps) < 130


@virtual_time
async def test_a_success_ends_the_row_of_failures() -> None:
    """After a write that worked, the next failure backs off from the beginning."""
    store = _Watched(*[_AWAY] * 10, None, _AWAY)
    keeper = _keeper(store)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(keeper.run)
        keeper.advance(checkpoint(1, stream_seq=1))
        await trio.sleep(100)
        keeper.advance(checkpoint(2, stream_seq=2))
        await trio.sleep(1)
        nursery.cancel_scope.cancel()
    assert store.tokens == [1, 2]


@virtual_time
async def test_an_unacknowledged_write_is_done_again() -> None:
    """A write whose majority didn't answer counts as failed, and doing it twice is harmless."""
    store, observer = _Watched(Unacknowledged(_AWAY)), RecordingObserver()
    keeper = _keeper(store, observer)
    keeper.advance(checkpoint(1, stream_seq=1))
    with trio.move_on_after(10):
        await keeper.run()
    assert len(store.began_at) == 2
    assert store.checkpoints == {NAMESPACE: checkpoint(1, stream_seq=1)}
    assert observer.checkpoints == [checkpoint(1, stream_seq=1)]


@virtual_time
async def test_a_flush_writes_what_run_left() -> None:
    """After `run` is cancelled, the newest position is written by a flush, without waiting."""
    store = _Watched()
    keeper = _keeper(store)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(keeper.run)
        keeper.advance(checkpoint(1, stream_seq=1))
        await trio.sleep(0.1)
        keeper.advance(checkpoint(2, stream_seq=2))
        await trio.sleep(0.1)
        nursery.cancel_scope.cancel()
    assert store.tokens == [1]
    await keeper.flush()
    assert store.tokens == [1, 2]


@virtual_time
async def test_a_flush_raises_what_fails() -> None:
    """A flush that fails says so, and can be done again."""
    store = _Watched(_AWAY)
    keeper = _keeper(store)
    await keeper.flush()  # nothing noted, nothing to do
    keeper.advance(checkpoint(1, stream_seq=1))
    with pytest.raises(CheckpointError):
        await keeper.flush()
    assert store.tokens == []
    await keeper.flush()
    assert store.tokens == [1]


@virtual_time
async def test_a_write_cancelled_midway_may_still_happen() -> None:
    """A write in flight when `run` is cancelled is not waited for, and the flush's is the last."""
    store = _Watched(latency_s=5.0)
    keeper = _keeper(store)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(keeper.run)
        keeper.advance(checkpoint(1, stream_seq=1))
        await trio.sleep(1)
        keeper.advance(checkpoint(2, stream_seq=2))
        nursery.cancel_scope.cancel()
    assert store.tokens == []
    await keeper.flush()
    assert store.tokens == [1, 2]


@virtual_time
async def test_a_cancelled_flush_is_done_or_not() -> None:
    """Cancelled before it begins, a flush has written nothing, and can be done again."""
    store = _Watched()
    keeper = _keeper(store)
    keeper.advance(checkpoint(1, stream_seq=1))
    with trio.CancelScope() as scope:
        scope.cancel()
        await keeper.flush()
    assert store.tokens == []
    await keeper.flush()
    assert store.tokens == [1]
