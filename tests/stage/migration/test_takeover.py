"""Looking at what an earlier connector has left behind, and taking it over."""

from __future__ import annotations

import pytest
import trio
from tests.fakes.checkpoints import FakeCheckpointStore
from tests.fakes.faults import Script
from tests.fakes.source import DATABASE, FakeSource
from tests.fakes.stream import FakeStream
from tests.fakes.tokens import event_token
from tests.fakes.values import NAMESPACE, checkpoint
from tests.fakes.virtual_time import virtual_time

from mnc.checkpoint.position import resume_from
from mnc.errors import CheckpointUnavailableError, SourceUnavailableError
from mnc.migration.decision import EarlierTokens, Standing, TakeOver
from mnc.migration.takeover import (
    InStream,
    StandingMovedError,
    lost_positions,
    survey,
    take_over,
)
from mnc.model import Checkpoint, ClusterTime, Position, ResumeToken, StreamSeq
from mnc.publish.ports import Batch

_MARKER = "cs_position.users"


def standing(newest: ResumeToken, *, event: ResumeToken | None = None) -> Standing:
    """Return where `users` stands."""
    earlier = EarlierTokens(place="test.tokens", documents=1, unreadable=0, newest=newest)
    return Standing(
        collection="users",
        earlier=earlier,
        published=None,
        event=None
        if event is None
        else Checkpoint(position=Position(token=event), stream_seq=StreamSeq(1)),
        own=None,
    )


async def apply(stream: FakeStream, store: FakeCheckpointStore, start: ResumeToken) -> None:
    """Take `users` over, to go on after `start`."""
    await take_over(
        standing(start),
        TakeOver(token=start, found=""),
        database=DATABASE,
        marker_subject=_MARKER,
        stream=stream,
        store=store,
    )


async def mark(stream: FakeStream, position: ResumeToken) -> None:
    """Let the stream have a marker, as it puts one behind the last event."""
    await stream.ensure()
    batch = Batch(
        events=(),
        marker_subject=_MARKER,
        position=Position(token=position),
        expected_seq=StreamSeq(0),
    )
    await stream.publish(batch)


class _Left:
    """What an earlier connector left behind, and what the stream says."""

    def __init__(self, in_stream: InStream) -> None:
        self.in_stream = in_stream

    async def tokens(self, collection: str, /) -> EarlierTokens:
        return EarlierTokens(place=collection, documents=0, unreadable=0, newest=None)

    async def look(self, _: str, /) -> InStream:
        return self.in_stream


@pytest.mark.parametrize(
    ("has_marker", "document", "own"),
    [
        # Without a marker or a document mnc was never there, whatever is in the stream.
        (False, None, None),
        (True, None, checkpoint(3, stream_seq=5)),
        (False, checkpoint(9, stream_seq=0), checkpoint(3, stream_seq=5)),
        (True, checkpoint(9, stream_seq=5), checkpoint(9, stream_seq=5)),
    ],
)
@virtual_time
async def test_own_position_is_the_one_that_a_start_reads(
    *, has_marker: bool, document: Checkpoint | None, own: Checkpoint | None
) -> None:
    """What the survey calls mnc's own position is what `mnc serve` would go on from."""
    store = FakeCheckpointStore()
    if document is not None:
        await store.save(NAMESPACE, document)
    last = checkpoint(3, stream_seq=5)
    left = _Left(InStream(event=last, position=last, has_marker=has_marker))
    (found,) = await survey(
        ["users"],
        database=DATABASE,
        earlier=left,
        earlier_stream=None,
        stream=left,
        store=store,
    )
    assert (found.event, found.own) == (last, own)


@virtual_time
async def test_oplog_decides_what_is_lost() -> None:
    """Tokens before the oplog's beginning, and those of the future, are told from the others."""
    source = FakeSource()
    old = source.write("users")
    source.forget()
    new = source.write("users")
    assert await lost_positions(source, [standing(new)]) == {}
    lost = await lost_positions(source, [standing(new, event=old)])
    assert set(lost) == {old}
    future = event_token(ClusterTime(source.now.seconds + 3600, 1))
    lost = await lost_positions(source, [standing(future, event=new)])
    assert set(lost) == {future}
    assert all(stream.is_closed for stream in source.streams)


@virtual_time
async def test_mongodb_that_is_away_is_no_lost_position() -> None:
    """Only MongoDB's own word makes a position lost."""
    source = FakeSource()
    token = source.write("users")
    source.reply_faults = Script(SourceUnavailableError("away"))
    with pytest.raises(SourceUnavailableError):
        await lost_positions(source, [standing(token)])


@virtual_time
async def test_token_counts_although_an_older_event_is_in_the_stream() -> None:
    """The document names the stream's fence, so a start of mnc goes on from it."""
    source, stream, store = FakeSource(), FakeStream(), FakeCheckpointStore()
    event, newest = source.write("users"), source.write("movies")
    await mark(stream, event)
    await apply(stream, store, newest)
    reached = resume_from(await stream.read_position(_MARKER), await store.load(NAMESPACE))
    assert reached is not None
    assert reached.position.token == newest


@virtual_time
async def test_stream_that_moves_is_noticed() -> None:
    """An earlier connector that still publishes is told of, and nothing is written."""
    source, stream, store = FakeSource(), FakeStream(), FakeCheckpointStore()
    newest, later = source.write("users"), source.write("users")
    await mark(stream, later)
    with pytest.raises(StandingMovedError):
        await apply(stream, store, newest)
    assert store.checkpoints == {}


@virtual_time
async def test_take_over_that_was_interrupted_can_be_repeated() -> None:
    """After an error or a cancellation a second run does the same."""
    source, stream, store = FakeSource(), FakeStream(), FakeCheckpointStore()
    newest = source.write("users")
    await stream.ensure()
    store.write_faults = Script(CheckpointUnavailableError("no primary"))
    with pytest.raises(CheckpointUnavailableError):
        await apply(stream, store, newest)
    with trio.move_on_after(0.0015):
        await apply(stream, store, newest)
    await apply(stream, store, newest)
    assert store.checkpoints[NAMESPACE].position.token == newest
