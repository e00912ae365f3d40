"""Looking at what an earlier connector has left behind, and taking it over.

Theory of operation. `survey` changes nothing. `take_over` does what `mnc serve` does at the start
of a collection, and writes the token document that this start reads: it names the fence that the
stream has now, so that it counts although events stand in the stream. Position markers are put
there by the stream itself, behind what is stored.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from mnc.capture.ports import ChangeSource, StartAt
from mnc.checkpoint.ports import CheckpointStore
from mnc.checkpoint.position import resume_from
from mnc.errors import ForeignPositionError, MncError, PositionLostError, SourceError
from mnc.migration.decision import EarlierTokens, Standing, TakeOver, candidates
from mnc.model import Checkpoint, Namespace, Position, ResumeToken, StreamSeq
from mnc.publish.ports import StreamPort

__all__ = [
    "EarlierConnector",
    "EarlierStream",
    "InStream",
    "StandingMovedError",
    "StreamLook",
    "lost_positions",
    "survey",
    "take_over",
]


class StandingMovedError(MncError):
    """The stream moved on between the look and the take-over: somebody still publishes."""

    kind = "standing_moved"


@dataclass(frozen=True, slots=True, kw_only=True)
class InStream:
    """What the stream says of a collection."""

    event: Checkpoint | None
    """The collection's last event, whoever has stored it."""
    position: Checkpoint | None
    """What a start of mnc would read: the later one of the last event and mnc's marker."""
    has_marker: bool


class EarlierConnector(Protocol):
    """What an earlier connector has left behind in MongoDB."""

    async def tokens(self, collection: str, /) -> EarlierTokens:
        """Return what its token collection says of a watched one. Raises CheckpointError."""
        ...


class EarlierStream(Protocol):
    """The streams of a connector that has others than mnc."""

    async def last(self, collection: str, /) -> ResumeToken | None:
        """Return the token of a collection's last event there. Raises SinkError."""
        ...


class StreamLook(Protocol):
    """A stream that is looked at and not changed; it needn't exist."""

    async def look(self, collection: str, /) -> InStream:
        """Return what the stream says of a collection. Raises SinkError."""
        ...


async def survey(
    collections: Sequence[str],
    *,
    database: str,
    earlier: EarlierConnector,
    earlier_stream: EarlierStream | None,
    stream: StreamLook,
    store: CheckpointStore,
) -> Sequence[Standing]:
    """Return where the collections of `database` stand. Raises CheckpointError, SinkError."""
    standings = []
    for collection in collections:
        namespace = Namespace.of(collection, home=database)
        name = namespace.collection
        document = await store.load(namespace)
        in_stream = await stream.look(collection)
        standings.append(
            Standing(
                collection=collection,
                earlier=await earlier.tokens(name),
                published=await earlier_stream.last(name) if earlier_stream else None,
                event=in_stream.event,
                own=_own(in_stream, document),
            )
        )
    return standings


async def lost_positions(
    source: ChangeSource, standings: Sequence[Standing]
) -> Mapping[ResumeToken, SourceError]:
    """Return the candidates that MongoDB can't resume from, and why. Raises other SourceErrors."""
    collections = [standing.collection for standing in standings]
    ascending = sorted(candidates(standings))
    lost = {}
    for token in ascending:
        error = await _loss(source, collections, token)
        if error is None:
            break  # the oplog reaches back to all that follow
        lost[token] = error
    # ... but for one that lies in the future, as of another cluster.
    if ascending and (error := await _loss(source, collections, ascending[-1])):
        lost[ascending[-1]] = error
    return lost


async def take_over(
    standing: Standing,
    decision: TakeOver,
    *,
    database: str,
    marker_subject: str,
    stream: StreamPort,
    store: CheckpointStore,
) -> None:
    """Let the next `mnc serve` go on after the decision's token. Safe to repeat.

    Raises StandingMovedError when the stream has moved since the survey; CheckpointError,
    SinkError.

    Cancellation: it may be done or not; the survey tells.
    """
    fence = await stream.read_position(marker_subject)
    if fence is not None and fence.position.token > decision.token:
        raise StandingMovedError(
            f"{standing.collection}: an event was stored meanwhile",
            remedy="stop the earlier connector, and run this again",
        )
    reached = Checkpoint(
        position=Position(token=decision.token),
        stream_seq=StreamSeq(0) if fence is None else fence.stream_seq,
    )
    await store.save(Namespace.of(standing.collection, home=database), reached)


async def _loss(
    source: ChangeSource, collections: Collection[str], token: ResumeToken
) -> SourceError | None:
    """Return why MongoDB can't resume from `token`, or None when it can."""
    try:
        stream = await source.open(collections, start=StartAt(token.cluster_time))
        try:
            # Only the first reply tells whether the oplog reaches back so far.
            await stream.next_reply(batch_size=1)
        finally:
            await stream.aclose()
    except (ForeignPositionError, PositionLostError) as error:
        return error
    return None


def _own(in_stream: InStream, document: Checkpoint | None) -> Checkpoint | None:
    """Return where mnc goes on by itself, or None when it has never watched the collection."""
    if document is None and not in_stream.has_marker:
        return None
    return resume_from(in_stream.position, document)
