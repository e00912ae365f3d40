"""The whole pipeline in virtual time: whatever fails when, the stream becomes and stays exact.

Every run is decided by its seed: writes to the database, faults of the database, of the stream and
of the token documents, batches that land long after they were given up, outages, crashes, graceful
stops, and a second connector that believes that it owns the same collections. A run that fails
prints its seed and what happened when.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from copy import deepcopy
from typing import TypeVar

import pytest
import structlog
import trio
from tests.fakes.checkpoints import Unacknowledged, WriteFault
from tests.fakes.faults import Faults
from tests.fakes.stream import LOST_ACK, NEVER_STORED, PublishFault, stored_after
from tests.fakes.virtual_time import run_in_virtual_time
from tests.stage.process import Process, World

from mnc.checkpoint.position import resume_from
from mnc.errors import (
    CheckpointUnavailableError,
    SinkError,
    SinkUnavailableError,
    SourceError,
    SourceRefusedError,
    SourceUnavailableError,
    StreamFullError,
)

_SEEDS = 250
_NAMES = ("a", "b", "c")
_CHAOS_S = 40.0
_HEALING_S = 120.0
"""Enough for the longest wait before a restart, after a batch's time-out."""

_LATEST_S = 20.0
"""How long after it was sent a batch may still be stored."""

_F = TypeVar("_F")

_BUSY = SinkUnavailableError("busy")
_NO_PRIMARY = CheckpointUnavailableError("no primary")
_SOURCE_FAULTS: Sequence[SourceError] = (
    SourceUnavailableError("no primary"),
    SourceUnavailableError("cursor killed"),
    SourceRefusedError("no privilege"),
)
_SINK_FAULTS: Sequence[SinkError] = (_BUSY,)
_WRITE_FAULTS: Sequence[WriteFault] = (_NO_PRIMARY, Unacknowledged(_NO_PRIMARY))


class _Run:
    """One run, and the record of what happened in it."""

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.record: list[str] = []
        self._rng = rng = random.Random(seed)
        self._is_chaos = True
        self._fault_rate = rng.choice([0.02, 0.1, 0.3])
        self._latest_s = rng.choice([0.002, 0.02, 0.2])
        self._world = World(
            latency=lambda: rng.uniform(0.0001, self._latest_s),
            duplicate_window_s=rng.choice([0.0, 2.0, 120.0]),
        )
        late = [stored_after(delay_s) for delay_s in (0.5, 1.02, 1.1, 3.0, _LATEST_S)]
        publish: Sequence[PublishFault] = (
            *(LOST_ACK, NEVER_STORED) * 2,
            *late,
            _BUSY,
            StreamFullError("full"),
        )
        world = self._world
        world.stream.publish_faults = self._faults("publish", publish)
        world.stream.read_faults = self._faults("read marker", _SINK_FAULTS)
        world.stream.ensure_faults = self._faults("ensure", _SINK_FAULTS)
        world.source.open_faults = self._faults("open", _SOURCE_FAULTS)
        world.source.reply_faults = self._faults("reply", _SOURCE_FAULTS)
        world.store.load_faults = self._faults("load", (_NO_PRIMARY,))
        world.store.write_faults = self._faults("write", _WRITE_FAULTS)

    async def run(self) -> None:
        """Let chaos reign for a while, then heal, and check."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._write)
            nursery.start_soon(self._break_connections)
            for number in range(self._rng.choice([1, 1, 2])):
                nursery.start_soon(self._instance, number)
            await trio.sleep(_CHAOS_S)
            self._is_chaos = False
            self._note("healing")
        last = Process(self._world, *_NAMES)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(last.run)
            await self._wait_until(lambda: last.is_ready, "it doesn't become ready")
            self._world.source.transact(*_NAMES)
            await self._wait_until(
                lambda: self._world.is_exact(*_NAMES), "the stream doesn't become complete"
            )
            await trio.sleep(_LATEST_S)
            assert last.is_ready
            self._world.source.write("a")
            last.stop()
        self._check()
        assert last.workshop.budget.statistics().used_bytes == 0
        assert all(stream.is_closed for stream in self._world.source.streams)
        assert all(self._world.stored(name) for name in _NAMES)

    async def _wait_until(self, condition: Callable[[], bool], otherwise: str) -> None:
        deadline = trio.current_time() + _HEALING_S
        while not condition():
            assert trio.current_time() < deadline, otherwise
            await trio.sleep(1)

    # --- what happens ----------------------------------------------------------------------------

    async def _write(self) -> None:
        source, rng = self._world.source, self._rng
        while self._is_chaos:
            await trio.sleep(rng.choice([0.0, 0.0, 0.0, 0.1, 2.0]))
            match rng.random():
                case chance if chance < 0.01:
                    self._world.drop_database()
                    self._note("database dropped")
                case chance if chance < 0.1:
                    source.transact(*rng.choices(_NAMES, k=rng.randint(1, 6)))
                case chance if chance < 0.2:
                    source.tick(seconds=rng.choice([0, 1]))
                case _:
                    source.write(rng.choice(_NAMES), padding_bytes=rng.choice([0, 0, 900]))

    async def _break_connections(self) -> None:
        stream, rng = self._world.stream, self._rng
        while self._is_chaos:
            await trio.sleep(rng.uniform(1, 40))
            self._note("disconnected")
            stream.disconnect()
            await trio.sleep(rng.choice([0.001, 0.5, 8.0]))
            self._note("connected")
            stream.connect()

    async def _instance(self, number: int) -> None:
        """Run one process after another; each ends by a crash or a graceful stop."""
        rng = self._rng
        while self._is_chaos:
            process = Process(
                self._world,
                *_NAMES,
                budget_bytes=rng.choice([1, 5_000, 10**9]),
                seed=rng.randrange(2**32),
            )
            self._note(f"process {number} starts")
            life_s = min(rng.choice([0.05, 3.0, 20.0, 40.0]) * rng.random(), _CHAOS_S)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(process.run)
                await trio.sleep(life_s)
                if rng.random() < 0.3:
                    self._note(f"process {number} stops")
                    process.stop()
                    nursery.cancel_scope.deadline = trio.current_time() + rng.uniform(0, 20)
                else:
                    self._note(f"process {number} is killed")
                    nursery.cancel_scope.cancel()
            self._check()

    # --- what has to be true at any time ---------------------------------------------------------

    def _check(self) -> None:
        """Assert that nothing is out of order, twice, or skipped by who resumes now."""
        world = self._world
        for name in _NAMES:
            expected, stored = world.expected(name), world.stored(name)
            assert not world.skipped(name), f"the first events of {name} are skipped"
            assert stored == expected[: len(stored)], f"collection {name} is not exact"
            resumed = resume_from(world.marker(name), world.checkpoint(name))
            if resumed is not None:
                passed = [token for token in expected if token <= resumed.position.token]
                assert len(passed) == len(stored), f"the position of {name} skips or repeats"

    # --- the record ------------------------------------------------------------------------------

    def _faults(self, call: str, kinds: Sequence[_F]) -> Faults[_F]:
        def draw() -> _F | None:
            if not self._is_chaos or self._rng.random() >= self._fault_rate:
                return None
            # A copy: an error that is raised again and again drags its tracebacks along.
            fault = deepcopy(self._rng.choice(kinds))
            self._note(f"{call}: {fault!r}")
            return fault

        return draw

    def _note(self, what: str) -> None:
        self.record.append(f"{trio.current_time():12.4f} {what}")


@pytest.mark.parametrize("seed", range(_SEEDS))
def test_any_run_leaves_an_exact_stream(seed: int) -> None:
    """The stream holds each committed event once, in its collection's order, in every run."""
    run = _Run(seed)
    with structlog.testing.capture_logs():
        try:
            run_in_virtual_time(run.run)
        except BaseException:
            print(f"seed {seed}", *run.record, sep="\n")  # noqa: T201 - pytest shows it
            raise
