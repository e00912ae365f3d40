"""Whether each collection can go on from where it stands. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import partial

from mnc.checkpoint.position import resume_from
from mnc.errors import CheckpointError, SinkError, SourceError
from mnc.model import ClusterTime
from mnc.preflight.facts import MongoFacts, NatsFacts
from mnc.preflight.finding import Finding
from mnc.preflight.quantities import duration_text

__all__ = ["position_findings"]

_FUTURE_SLACK_S = 10
"""How far a position may be ahead of the cluster's time; a token of "now" is so by one tick."""

_finding = partial(Finding, area="MongoDB", check="positions")


def position_findings(
    mongo: MongoFacts | SourceError, nats: NatsFacts | SinkError
) -> list[Finding]:
    """Compare the positions with the oplog; nothing when they can't be known.

    A position is the later one of a token document and a position marker, so both servers have to
    have answered.
    """
    if isinstance(mongo, SourceError) or isinstance(mongo.checkpoints, CheckpointError):
        return []
    if isinstance(nats, SinkError) or isinstance(nats.account, SinkError):
        return []
    now = mongo.cluster_time
    if now is None:
        return []
    markers = {} if nats.account.stream is None else nats.account.stream.markers
    reached = {
        name: checkpoint.position.token.cluster_time
        for name in mongo.watched
        if (checkpoint := resume_from(markers.get(name), mongo.checkpoints.get(name)))
    }
    oldest = None if mongo.oplog is None else mongo.oplog.first
    return [
        *_in_the_future(reached, now),
        *_lost(reached, oldest),
        *_known(reached, now),
        *_new([name for name in mongo.watched if name not in reached]),
    ]


def _in_the_future(reached: Mapping[str, ClusterTime], now: ClusterTime) -> Iterator[Finding]:
    ahead = [name for name, time in reached.items() if time.seconds > now.seconds + _FUTURE_SLACK_S]
    if ahead:
        yield _finding(
            level="problem",
            found=f"those of {', '.join(ahead)} lie in the future of this MongoDB",
            remedy="check that MONGO_URI names the cluster that NATS_STREAM_NAME was filled from",
        )


def _lost(reached: Mapping[str, ClusterTime], oldest: ClusterTime | None) -> Iterator[Finding]:
    lost = [name for name, time in reached.items() if oldest is not None and time < oldest]
    if lost:
        yield _finding(
            level="problem",
            found=f"the oplog no longer reaches back to those of {', '.join(lost)}",
            remedy="events are lost; to go on from now, remove the collection's document from "
            "MONGO_RESUME_TOKENS_COLLECTION and its position marker from the stream",
        )


def _known(reached: Mapping[str, ClusterTime], now: ClusterTime) -> Iterator[Finding]:
    if reached:
        age_s = max(now.seconds - min(reached.values()).seconds, 0)
        yield _finding(
            level="ok",
            found=f"{', '.join(reached)}: {duration_text(age_s)} old at most",
        )


def _new(collections: Sequence[str]) -> Iterator[Finding]:
    if collections:
        yield _finding(
            level="ok", found=f"{', '.join(collections)}: none yet; watched from the first start on"
        )
