"""Discovery: finds the collections that globs take, those that are yet to be created included.

Theory of operation. A change stream of its own shows the events of all collections that the globs
take and that aren't known yet; the first event of one makes it known. It gets a token document with
a position before that event, and only then the position of discovery moves on, which has a token
document of its own. So whatever crashes, a collection is found again from where discovery was, or
has its document; it is watched from before its first event, also when it is created, written and
dropped while nobody runs. What exists already at the first start is listed, after the position was
taken; and so it is where the oplog no longer reaches back and the settings say to go on from now.
Of several instances that discover at the same time, each does no more than the other would.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Collection, Iterable, Iterator
from collections.abc import Set as AbstractSet
from typing import Protocol

import structlog
import trio

from mnc.capture.ports import ChangeDocument, ChangeStream, Reply
from mnc.checkpoint.ports import CheckpointStore
from mnc.checkpoint.position import LostHistory, begin_snapshot, check_past
from mnc.errors import CheckpointError, MncError, PositionLostError, SourceError
from mnc.model import Checkpoint, ClusterTime, Namespace, Position, ResumeToken, StreamSeq
from mnc.supervise.policy import RestartPolicy

__all__ = ["DISCOVERY_NAME", "Discovery", "DiscoveryObserver", "NewcomerSource", "NewcomerStore"]

DISCOVERY_NAME = ""
"""Stands for a collection's name in the token document of discovery; none can have it."""

_BATCH_SIZE = 100
"""How many events are asked for: after the first of a collection the others are of no use."""

_IDLE_PROGRESS_S = 10.0
"""How often the position moves on while nothing is found, so that it never ages out."""

_NO_MARKER = StreamSeq(0)


class NewcomerSource(Protocol):
    """A database in which collections come into being; `mnc.drivers.mongo` provides it."""

    async def current_token(self) -> ResumeToken:
        """Return a token that stands after everything committed so far. Raises SourceError."""
        ...

    async def existing(self) -> Collection[str]:
        """Return the collections that exist and are wanted. Raises SourceError."""
        ...

    async def open(self, known: Collection[str], *, since: ClusterTime) -> ChangeStream:
        """Open a change stream over what the globs take, but for `known`.

        Its events have a namespace, but no document. Raises ForeignPositionError when `since` lies
        in the future, and SourceError otherwise; that it is no longer in the oplog is a
        PositionLostError here or of the first reply.
        """
        ...


class NewcomerStore(CheckpointStore, Protocol):
    """Checkpoints that can be listed."""

    async def watched(self, database: str) -> Collection[str]:
        """Return the names in `database` that have a checkpoint. Raises CheckpointError."""
        ...


class DiscoveryObserver(Protocol):
    """Hears of changes that nobody can read any more."""

    def renewed(self, *, lost: ResumeToken, found: ResumeToken) -> None:
        """Hear that collections which came and went between two positions are not found.

        Once more for each attempt that fails then.
        """
        ...

    def found_late(self, collection: str, *, lost: ResumeToken, found: ResumeToken) -> None:
        """Hear that a collection was made between two positions, and is watched from the second."""
        ...


class Discovery:
    """Look for collections of one database.

    Invariants: `known` only grows; a name is in it only when it was named in the settings or has a
    token document.
    """

    def __init__(
        self,
        *,
        database: str,
        names: Collection[str],
        wants: Callable[[str], bool],
        source: NewcomerSource,
        store: NewcomerStore,
        policy: RestartPolicy,
        rng: random.Random,
        snapshot_first: bool,
        lost_history: LostHistory,
        observer: DiscoveryObserver,
    ) -> None:
        """Know `names` from the start, and look for what `wants` says yes to.

        With `snapshot_first` what exists when it is first seen begins with a snapshot. Unless
        `lost_history` is "stop", a position to which the oplog no longer reaches back is replaced
        by now, and what was made since begins there, with a snapshot if it is "snapshot".
        """
        self._database = database
        self._wants = wants
        self._source = source
        self._store = store
        self._policy = policy
        self._rng = rng
        self._snapshot_first = snapshot_first
        self._lost_history = lost_history
        self._observer = observer
        self._log = structlog.get_logger().bind(database=database)
        self._known = frozenset(names)
        self._is_complete = False
        self._failure: MncError | None = None

    @property
    def known(self) -> AbstractSet[str]:
        """The collections to watch, as far as they have been found."""
        return self._known

    def not_ready_because(self) -> str | None:
        """Say in a sentence why collections may be missing from `known`, or None."""
        match self._failure:
            case None:
                return None if self._is_complete else "the collections are being looked for"
            case error:
                return f"new collections can't be found: {error}"

    async def run(self, changed: Callable[[AbstractSet[str]], None]) -> None:
        """Look for collections until cancelled; `changed` hears what is known at each change.

        Cancellation: what was found is there for the next one that looks.
        """
        attempt = 0
        self._is_complete, self._failure = False, None
        while True:
            started_at = trio.current_time()
            try:
                await self._discover(changed)
            except (SourceError, CheckpointError) as error:
                attempt = self._policy.attempt(
                    error, previous=attempt, ran_s=trio.current_time() - started_at
                )
                delay_s = self._policy.delay_s(error, attempt=attempt, rng=self._rng)
                self._failure = error
                self._log.warning("discovery.failed", kind=error.kind, error=str(error))
                await trio.sleep(float("inf") if delay_s is None else delay_s)

    async def _discover(self, changed: Callable[[AbstractSet[str]], None]) -> None:
        # The position BEFORE the names: what an instance found before it moved on is among them.
        begun = await self._begin()
        self._known |= self._wanted(await self._store.watched(self._database))
        changed(self._known)  # whatever becomes of the rest
        # BEFORE collections get the position: it may be lost.
        position = await self._kept_or_renewed(begun)
        lost = None if position == begun else begun
        first = Position(token=position)
        if self._snapshot_first or (lost is not None and self._lost_history == "snapshot"):
            first = begin_snapshot(first)
        await self._add(await self._source.existing(), first, lost=lost)
        if lost is not None:
            # Told BEFORE it is done: rather twice than never. Done AFTER the documents of what
            # exists, which would be lost otherwise.
            self._observer.renewed(lost=lost, found=position)
            await self._save(position)
        changed(self._known)
        since = position.cluster_time
        while True:
            stream = await self._source.open(self._known, since=since)
            try:
                reply = await self._watch(stream, after=position)
            finally:
                await stream.aclose()
            changed(self._known)
            position = reply.token
            since = position.cluster_time
            if reply.invalidated:
                # What closes a stream is alone in its cluster time, so this leaves nothing out.
                since = ClusterTime(since.seconds, since.increment + 1)

    async def _begin(self) -> ResumeToken:
        """Return where discovery stands: now, if it never ran."""
        checkpoint = await self._store.load(self._namespace(DISCOVERY_NAME))
        if checkpoint is None:
            now = Position(token=await self._source.current_token())
            checkpoint = await self._store.create(self._namespace(DISCOVERY_NAME), _checkpoint(now))
        return checkpoint.position.token

    async def _kept_or_renewed(self, position: ResumeToken) -> ResumeToken:
        """Return `position`, or now if it is lost and the settings say to go on."""
        try:
            stream = await self._source.open(self._known, since=position.cluster_time)
            try:
                await stream.next_reply(batch_size=1)  # the opening may not tell
            finally:
                await stream.aclose()
        except PositionLostError:
            if self._lost_history == "stop":
                raise
            now = await self._source.current_token()
            check_past(position, now=now)
            return now
        return position

    async def _watch(self, stream: ChangeStream, *, after: ResumeToken) -> Reply:
        """Read until something was found, or the stream has ended; return the last reply.

        `after` is a token before everything that the stream shows and isn't known.
        """
        saved_at = trio.current_time()
        while True:
            reply = await stream.next_reply(batch_size=_BATCH_SIZE)
            names = (name for change in reply.events for name in _collections(change))
            found = self._wanted(names) - self._known
            await self._add(found, Position(token=after))
            after = reply.token
            has_ended = bool(found) or reply.invalidated
            if has_ended or trio.current_time() - saved_at >= _IDLE_PROGRESS_S:
                # AFTER the documents of what was found, which would be lost otherwise.
                await self._save(after)
                saved_at = trio.current_time()
            self._is_complete, self._failure = True, None
            if has_ended:
                return reply

    async def _add(
        self, names: Collection[str], first: Position, *, lost: ResumeToken | None = None
    ) -> None:
        """Make each of `names` durable, with a first position, before its first event.

        Or after it, if it was made since `lost`.
        """
        for name in sorted(set(names) - self._known):
            await self._store.create(self._namespace(name), _checkpoint(first))
            self._log.info("discovery.found", collection=str(self._namespace(name)))
            self._known |= {name}
            if lost is not None:
                self._observer.found_late(name, lost=lost, found=first.token)

    async def _save(self, reached: ResumeToken) -> None:
        """Let discovery stand at `reached`."""
        await self._store.save(
            self._namespace(DISCOVERY_NAME), _checkpoint(Position(token=reached))
        )

    def _wanted(self, names: Iterable[str]) -> AbstractSet[str]:
        return {name for name in names if name != DISCOVERY_NAME and self._wants(name)}

    def _namespace(self, collection: str) -> Namespace:
        return Namespace(database=self._database, collection=collection)


def _checkpoint(position: Position) -> Checkpoint:
    return Checkpoint(position=position, stream_seq=_NO_MARKER)


def _collections(change: ChangeDocument) -> Iterator[str]:
    """Yield the names of the collections that an event concerns: two for a rename."""
    for field in ("ns", "to"):
        match change.get(field):
            case {"coll": str(name)}:
                yield name
