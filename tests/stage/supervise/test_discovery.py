"""Discovery finds every collection that the globs take, from before its first event."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import pytest
import trio
from tests.fakes.checkpoints import FakeCheckpointStore, Unacknowledged, WriteFault
from tests.fakes.faults import Script
from tests.fakes.newcomers import FakeNewcomerSource
from tests.fakes.source import DATABASE, FakeSource
from tests.fakes.virtual_time import run_in_virtual_time, virtual_time

from mnc.checkpoint.position import LostHistory
from mnc.config import Selection
from mnc.errors import (
    CheckpointUnavailableError,
    SourceRefusedError,
    SourceUnavailableError,
)
from mnc.model import ClusterTime, Namespace, ResumeToken
from mnc.supervise.discovery import DISCOVERY_NAME, Discovery
from mnc.supervise.policy import RestartPolicy

_AWAY = SourceUnavailableError("away")
_NOT_WRITABLE = CheckpointUnavailableError("away")

_WRITE_FAULTS: Sequence[WriteFault | None] = (None, _NOT_WRITABLE, Unacknowledged(_NOT_WRITABLE))


class _Observer:
    """Keeps what is told of lost positions."""

    def __init__(self) -> None:
        self.renewals: list[tuple[ResumeToken, ResumeToken]] = []
        self.late: dict[str, tuple[ResumeToken, ResumeToken]] = {}

    def renewed(self, *, lost: ResumeToken, found: ResumeToken) -> None:
        """Hear of discovery's own position."""
        self.renewals.append((lost, found))

    def found_late(self, collection: str, *, lost: ResumeToken, found: ResumeToken) -> None:
        """Hear of a collection."""
        self.late[collection] = (lost, found)


@dataclass(kw_only=True)
class _World:
    """A database, its token documents, and instances that discover, one after the other."""

    entries: Sequence[str] = ("orders_*", "users", "!orders_old")
    oplog: FakeSource = field(default_factory=FakeSource)
    store: FakeCheckpointStore = field(default_factory=FakeCheckpointStore)
    seed: int = 0
    snapshot_first: bool = False
    lost_history: LostHistory = "stop"
    observer: _Observer = field(default_factory=_Observer)

    def __post_init__(self) -> None:
        self.restart()

    def restart(self) -> None:
        """Put a new process in the place of the last one."""
        selection = Selection.of(self.entries)
        self.heard: frozenset[str] = frozenset()
        self.discovery = Discovery(
            database=DATABASE,
            names=selection.names,
            wants=selection.wants,
            source=FakeNewcomerSource(self.oplog, selection.wants),
            store=self.store,
            policy=RestartPolicy(renews_lost_positions=self.lost_history != "stop"),
            rng=random.Random(self.seed),
            snapshot_first=self.snapshot_first,
            lost_history=self.lost_history,
            observer=self.observer,
        )

    def write(self, name: str) -> None:
        """Commit a write."""
        self.oplog.write(name)

    async def run_for(self, seconds: float, during: Callable[[], None] = lambda: None) -> None:
        """Discover for a while; `during` is called in the middle of it."""

        def hear(known: frozenset[str] | object) -> None:
            assert isinstance(known, frozenset)
            assert known >= self.heard
            self.heard = known

        with trio.move_on_after(seconds):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self.discovery.run, hear)
                await trio.sleep(seconds / 2)
                during()

    @property
    def positions(self) -> Mapping[str, ResumeToken]:
        """The tokens of the documents there are."""
        return {
            each.collection: checkpoint.position.token
            for each, checkpoint in self.store.checkpoints.items()
        }

    def is_snapshot(self, name: str) -> bool:
        """Whether a collection begins with a snapshot."""
        namespace = Namespace(database=DATABASE, collection=name)
        return self.store.checkpoints[namespace].position.snapshot is not None

    @property
    def position(self) -> ResumeToken:
        """Where discovery itself stands."""
        return self.positions[DISCOVERY_NAME]


@virtual_time
async def test_what_exists_is_found_at_the_first_start() -> None:
    """Collections that exist are watched from the first start on, and nothing else is."""
    world = _World()
    before = [world.oplog.write(name) for name in ("orders_1", "movies", "orders_old", "orders_2")]
    await world.run_for(2)
    assert world.heard == {"users", "orders_1", "orders_2"}
    after = world.oplog.write("orders_1")
    assert all(before[-1] < world.positions[name] < after for name in ("orders_1", "orders_2"))
    assert "users" not in world.positions  # its lane makes that, as for any name


@virtual_time
async def test_what_exists_begins_with_a_snapshot_if_that_is_wanted() -> None:
    """The documents of what exists are read first; what comes later has none but its events'."""
    world = _World(snapshot_first=True)
    world.oplog.write("orders_1")
    await world.run_for(4, lambda: world.write("orders_2"))
    assert world.is_snapshot("orders_1")
    assert not world.is_snapshot("orders_2")


@virtual_time
async def test_what_is_created_later_is_watched_from_its_first_event() -> None:
    """A collection's position stands before its first event, and is durable when it is told."""
    world = _World()
    written: list[ResumeToken] = []
    await world.run_for(4, lambda: written.append(world.oplog.write("orders_9")))
    assert world.heard == {"users", "orders_9"}
    assert world.positions["orders_9"] < written[0] <= world.position


@virtual_time
async def test_what_came_and_went_meanwhile_is_found() -> None:
    """Collections that were created while nobody ran are found, dropped ones too."""
    world = _World()
    await world.run_for(2)
    first, second = world.oplog.write("orders_1"), world.oplog.write("orders_2")
    world.oplog.drop_database()
    third = world.oplog.write("orders_3")
    world.restart()
    await world.run_for(3)
    assert world.heard == {"users", "orders_1", "orders_2", "orders_3"}
    assert world.positions["orders_1"] < first
    assert world.positions["orders_2"] < second
    assert world.positions["orders_3"] < third


@virtual_time
async def test_a_dropped_database_goes_on_being_looked_at() -> None:
    """The stream that a dropDatabase ends is opened anew, behind it, once."""
    world = _World()

    def during() -> None:
        world.oplog.write("orders_1")
        world.oplog.drop_database()

    await world.run_for(8, during)
    assert world.heard == {"users", "orders_1"}
    opened = len(world.oplog.streams)
    await world.run_for(4, lambda: world.write("orders_2"))
    assert world.heard == {"users", "orders_1", "orders_2"}
    assert len(world.oplog.streams) < opened + 10


@virtual_time
async def test_many_newcomers_at_once_are_found() -> None:
    """More events than a reply holds, of many collections, are all gone through."""
    world = _World()
    names = [f"orders_{number}" for number in range(250)]

    def during() -> None:
        for name in names:
            world.oplog.write(name)

    await world.run_for(20, during)
    assert world.heard == {"users", *names}


@virtual_time
async def test_names_that_are_left_out_now_are_dropped() -> None:
    """A document of a collection that the settings don't want any more brings nothing back."""
    world = _World(entries=["*"])
    world.oplog.write("orders_old")
    world.oplog.write("orders_1")
    await world.run_for(2)
    assert world.heard == {"orders_old", "orders_1"}
    world.entries = ("*", "!orders_old")
    world.restart()
    await world.run_for(2)
    assert world.heard == {"orders_1"}


@virtual_time
async def test_the_position_moves_on_while_nothing_is_found() -> None:
    """The position never ages out: it is written every ten seconds, and no more often."""
    world = _World()
    await world.run_for(1)
    begun, writes = world.position, len(world.store.writes)
    for _ in range(60):
        await world.run_for(1, lambda: world.oplog.tick(seconds=1))
    assert world.position == begun  # restarted each second, it has no reason to
    await world.run_for(60, lambda: world.oplog.tick(seconds=30))
    assert world.position > begun
    assert len(world.store.writes) - writes <= 6


@virtual_time
async def test_a_lost_position_is_told_and_not_passed_over() -> None:
    """When the oplog doesn't reach back any more, nothing is tried again, and readiness says so.

    What is known goes on being watched.
    """
    world = _World()
    lost, _ = await _lose(world)
    opened = len(world.oplog.streams)
    await world.run_for(600)
    assert len(world.oplog.streams) == opened
    assert world.position == lost
    assert "orders_2" not in world.positions  # it would get a position that is lost
    reason = world.discovery.not_ready_because()
    assert reason is not None
    assert reason.startswith("new collections can't be found: the position is no longer")
    assert world.heard == {"users", "orders_1"}
    assert not world.observer.renewals


async def _lose(world: _World) -> tuple[ResumeToken, ResumeToken]:
    """Let the oplog forget a time in which orders_2 was made; return tokens before and after it."""
    world.oplog.write("orders_1")
    await world.run_for(2)
    lost = world.position
    world.oplog.tick(seconds=5)
    for name in ("orders_1", "orders_2", "movies"):
        world.oplog.write(name)
    world.oplog.forget()
    world.restart()
    return lost, await world.oplog.current_token()


@pytest.mark.parametrize("lost_history", ["now", "snapshot"])
@pytest.mark.parametrize("snapshot_first", [False, True])
@virtual_time
async def test_a_lost_position_is_given_up_where_that_is_allowed(
    lost_history: LostHistory, snapshot_first: bool
) -> None:
    """What was made in the lost time goes on from now, or with a snapshot, and is told of."""
    world = _World(lost_history=lost_history, snapshot_first=snapshot_first)
    lost, now = await _lose(world)
    kept = world.positions["orders_1"]
    await world.run_for(4, lambda: world.write("orders_3"))
    assert world.heard == {"users", "orders_1", "orders_2", "orders_3"}
    assert world.discovery.not_ready_because() is None
    assert world.positions["orders_2"] >= now
    assert world.is_snapshot("orders_2") == (snapshot_first or lost_history == "snapshot")
    assert world.positions["orders_1"] == kept  # its lane has it to say what is lost
    assert not world.is_snapshot("orders_3")
    ((told, found),) = world.observer.renewals
    assert told == lost < now <= found < world.position
    assert set(world.observer.late) == {"orders_2"}
    assert world.observer.late["orders_2"][0] == lost
    world.restart()
    await world.run_for(2)
    assert len(world.observer.renewals) == 1


@virtual_time
async def test_a_position_that_is_lost_while_it_runs_is_given_up_too() -> None:
    """A stream that can't be opened any more is begun anew at the present, after a short rest."""
    world = _World(lost_history="now")
    world.oplog.write("orders_1")

    def during() -> None:
        world.oplog.write("orders_2")
        world.oplog.reply_faults = Script(SourceUnavailableError("the cursor fell behind"))
        world.oplog.tick(seconds=5)
        world.oplog.forget()

    await world.run_for(20, during)
    assert world.heard == {"users", "orders_1", "orders_2"}
    assert len(world.observer.renewals) == 1
    assert set(world.observer.late) == {"orders_2"}


@virtual_time
async def test_a_lost_position_stays_until_what_exists_is_durable() -> None:
    """A crash or a refused write in between leaves nothing out and nothing untold."""
    world = _World(lost_history="now")
    lost, now = await _lose(world)
    world.oplog.write("orders_4")
    world.store.write_faults = Script[WriteFault](None, *[_NOT_WRITABLE] * 3)
    await world.run_for(0.1)
    assert "orders_2" in world.positions
    assert "orders_4" not in world.positions
    assert world.position == lost
    world.restart()
    await world.run_for(20)
    assert world.heard == {"users", "orders_1", "orders_2", "orders_4"}
    assert set(world.observer.late) == {"orders_2", "orders_4"}
    assert world.position >= now


@virtual_time
async def test_a_position_of_another_cluster_is_never_given_up() -> None:
    """A position that is lost and lies in the future is another cluster's: it stops discovery."""
    world = _World(lost_history="snapshot")
    await world.run_for(2)
    begun = world.position
    world.oplog.tick(seconds=5)
    world.oplog.forget()
    world.oplog.now = ClusterTime(begun.cluster_time.seconds - 5, 1)
    world.restart()
    opened = len(world.oplog.streams)
    await world.run_for(600)
    assert world.position == begun
    reason = world.discovery.not_ready_because()
    assert reason is not None
    assert "MONGO_URI" in reason
    assert len(world.oplog.streams) == opened
    assert not world.observer.renewals


@virtual_time
async def test_it_is_not_ready_before_it_has_looked() -> None:
    """Until the stream has answered, collections may be missing, and readiness says so."""
    world = _World()
    assert world.discovery.not_ready_because() == "the collections are being looked for"
    world.oplog.open_faults = Script(_AWAY)
    await world.run_for(0.01)
    reason = world.discovery.not_ready_because()
    assert reason is not None
    assert reason.startswith("new collections can't be found: ")
    await world.run_for(20)
    assert world.discovery.not_ready_because() is None


@virtual_time
async def test_refusals_are_asked_again_rarely() -> None:
    """What a person has to heal is tried every half a minute, and goes on when it is healed."""
    world = _World()
    world.oplog.open_faults = Script(*[SourceRefusedError("no")] * 10)
    await world.run_for(100)
    assert world.discovery.not_ready_because() is not None
    await world.run_for(600, lambda: world.write("orders_1"))
    assert world.heard == {"users", "orders_1"}


async def _survives(seed: int) -> None:
    """Write at random, with crashes and faults, and check what is found in the end."""
    rng = random.Random(seed)
    world = _World(seed=seed)
    await world.run_for(1)
    first: dict[str, ResumeToken] = {}
    for _ in range(rng.randint(1, 12)):
        world.oplog.open_faults = Script(*rng.choices([None, _AWAY], k=4))
        world.oplog.reply_faults = Script(*rng.choices([None, None, _AWAY], k=4))
        world.store.write_faults = Script[WriteFault](*rng.choices(_WRITE_FAULTS, k=4))

        def during() -> None:
            for _ in range(rng.randint(0, 3)):
                name = rng.choice(["orders_1", "orders_2", "orders_3", "movies", "orders_old"])
                token = world.oplog.write(name)
                if name not in ("movies", "orders_old"):
                    first.setdefault(name, token)

        if rng.random() < 0.3:
            during()
        await world.run_for(rng.choice([0.004, 0.05, 1.0, 3.0]), during)
        if rng.random() < 0.2:
            world.oplog.drop_database()
        if rng.random() < 0.5:
            world.restart()
    world.restart()
    await world.run_for(120)
    assert world.heard == {"users", *first}, seed
    for name, token in first.items():
        assert world.positions[name] < token, (seed, name)
    assert world.discovery.not_ready_because() is None


@pytest.mark.parametrize("seed", range(100))
def test_nothing_is_missed_whatever_crashes(seed: int) -> None:
    """Crashes, faults and lost acknowledgements leave no collection out, and none too late."""
    run_in_virtual_time(_survives, seed)


async def _forgets(seed: int, lost_history: LostHistory) -> None:
    """Write at random, with faults and an oplog that is cut off; check what is found and told."""
    rng = random.Random(seed)
    world = _World(seed=seed, lost_history=lost_history)
    await world.run_for(1)
    first: dict[str, ResumeToken] = {}
    for number in range(rng.randint(1, 12)):
        world.oplog.open_faults = Script(*rng.choices([None, _AWAY], k=4))
        world.oplog.reply_faults = Script(*rng.choices([None, None, _AWAY], k=4))
        world.store.write_faults = Script[WriteFault](*rng.choices(_WRITE_FAULTS, k=4))
        if rng.random() < 0.7:
            first.setdefault(f"orders_{number}", world.oplog.write(f"orders_{number}"))
        if rng.random() < 0.5:
            world.oplog.tick(seconds=5)
            world.oplog.forget()
        if rng.random() < 0.5:
            world.restart()
        await world.run_for(rng.choice([0.002, 0.004, 0.05, 3.0]))
    await world.run_for(120)
    assert world.heard == {"users", *first}, seed
    assert world.discovery.not_ready_because() is None
    gaps = world.observer.renewals
    for name, token in first.items():
        is_late = world.positions[name] > token
        assert not is_late or any(lost < token < found for lost, found in gaps), (seed, name)
        if name in world.observer.late:
            assert is_late, (seed, name)
        if is_late:
            assert world.is_snapshot(name) == (lost_history == "snapshot")


@pytest.mark.parametrize("lost_history", ["now", "snapshot"])
@pytest.mark.parametrize("seed", range(50))
def test_nothing_is_passed_over_in_silence(seed: int, lost_history: LostHistory) -> None:
    """What exists is found however often the oplog is cut off, and what may be missed is told."""
    run_in_virtual_time(_forgets, seed, lost_history)


@virtual_time
async def test_two_that_look_at_once_agree() -> None:
    """An earlier leader that doesn't know it yet does no harm: one document, before the event."""
    world = _World()
    await world.run_for(1)
    other = _World(oplog=world.oplog, store=world.store, seed=1)
    written: list[ResumeToken] = []
    async with trio.open_nursery() as nursery:
        nursery.start_soon(other.run_for, 6)
        await world.run_for(6, lambda: written.append(world.oplog.write("orders_1")))
    assert world.heard == other.heard == {"users", "orders_1"}
    namespace = Namespace(database=DATABASE, collection="orders_1")
    assert world.store.checkpoints[namespace].position.token < written[0]
