"""Whether each collection can go on from where it stands. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import partial

from mnc.checkpoint.position import resume_from
from mnc.errors import CheckpointError, SinkError, SourceError
from mnc.model import Checkpoint, ClusterTime
from mnc.preflight.facts import MongoFacts, NatsFacts, OplogFacts
from mnc.preflight.finding import Finding
from mnc.preflight.quantities import duration_text

__all__ = ["position_findings"]

_FUTURE_SLACK_S = 10
"""How far a position may be ahead of the cluster's time; a token of "now" is so by one tick."""

_finding = partial(Finding, area="MongoDB", check="positions")


def position_findings(
    mongo: MongoFacts | SourceError, nats: Sequence[NatsFacts] | SinkError
) -> list[Finding]:
    """Compare the positions with the oplog; nothing when they can't be known.

    A position is the later one of a token document and a position marker, so both servers have to
    have answered. `nats` has the facts of each stream.
    """
    if isinstance(mongo, SourceError) or isinstance(mongo.checkpoints, CheckpointError):
        return []
    if isinstance(nats, SinkError):
        return []
    now = mongo.cluster_time
    if now is None:
        return []
    markers: dict[str, Checkpoint] = {}
    for facts in nats:
        if isinstance(facts.account, SinkError):
            return []
        if facts.account.stream is not None:
            markers |= facts.account.stream.markers
    reached = {
        name: checkpoint.position.token.cluster_time
        for name in mongo.watched
        if (checkpoint := resume_from(markers.get(name), mongo.checkpoints.get(name)))
    }
    return list(_judge(mongo.watched, reached, now=now, oplog=mongo.oplog))


def _judge(
    watched: Sequence[str],
    reached: Mapping[str, ClusterTime],
    *,
    now: ClusterTime,
    oplog: OplogFacts | None,
) -> Iterator[Finding]:
    """Yield a finding for the collections of each fate; a collection has one."""
    new = [name for name in watched if name not in reached]
    ahead = [name for name, time in reached.items() if time.seconds > now.seconds + _FUTURE_SLACK_S]
    lost = [name for name, time in reached.items() if oplog is not None and time < oplog.first]
    known = [name for name in reached if name not in {*ahead, *lost}]
    if ahead:
        yield _finding(
            level="problem",
            found=f"those of {', '.join(ahead)} lie in the future of this MongoDB",
            remedy="check that MONGO_URI names the cluster that NATS_STREAM_NAME was filled from",
        )
    if lost:
        yield _finding(
            level="problem",
            found=f"the oplog no longer reaches back to those of {', '.join(lost)}",
            remedy="check that MONGO_URI names the cluster that NATS_STREAM_NAME was filled from; "
            "if it does, events are lost: MONGO_ON_HISTORY_LOST says how to go on",
        )
    if known:
        age_s = max(now.seconds - min(reached[name].seconds for name in known), 0)
        yield _finding(
            level="ok", found=f"{', '.join(known)}: the oldest is of {duration_text(age_s)} ago"
        )
    if new:
        yield _finding(
            level="ok", found=f"{', '.join(new)}: none yet; watched from the first start on"
        )
