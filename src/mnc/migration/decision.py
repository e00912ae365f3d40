"""Where a collection goes on that an earlier connector has published so far. Pure.

Theory of operation. Two things say how far an earlier connector came. Its newest resume token is
one: written after the event was published, so the stream may be an event ahead of it, and written
too when publishing failed, so the stream may be behind it. The last event of the collection in the
stream is the other, and it is exact, because events are stored in order. So the stream's word
counts where it has one. The token counts for a collection whose events are not there, and for one
that was quiet for so long that the oplog no longer reaches back to its last event.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from mnc.errors import SourceError
from mnc.model import Checkpoint, ResumeToken

__all__ = [
    "Decision",
    "EarlierTokens",
    "Kept",
    "Refused",
    "Standing",
    "TakeOver",
    "candidates",
    "decide",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class EarlierTokens:
    """What an earlier connector's token collection holds."""

    place: str
    """The database and the collection, with a dot between them."""
    documents: int
    unreadable: int
    """Documents without a resume token in `value`."""
    newest: ResumeToken | None
    """The token of the latest event, whichever document was written last."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """All that is known of a collection before anything is changed."""

    collection: str
    earlier: EarlierTokens
    published: ResumeToken | None
    """The last event in a stream of the earlier connector's own; None when it isn't looked for."""
    event: Checkpoint | None
    """What the collection's last event in the stream says, whoever has stored it."""
    own: Checkpoint | None
    """Where mnc goes on by itself, if it has watched the collection before."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TakeOver:
    """The collection goes on after `token`, which MongoDB can still resume from."""

    token: ResumeToken
    found: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """mnc has a position of its own that is as good: nothing is to be done."""

    found: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Refused:
    """Going on would lose or repeat events, or might: a person decides."""

    found: str
    remedy: str


Decision = TakeOver | Kept | Refused


def candidates(standings: Iterable[Standing]) -> set[ResumeToken]:
    """Return the tokens that `decide` may choose from."""
    return {
        token
        for standing in standings
        for token in (
            standing.earlier.newest,
            standing.published,
            _token(standing.event),
            _token(standing.own),
        )
        if token is not None
    }


def decide(standing: Standing, lost: Mapping[ResumeToken, SourceError]) -> Decision:
    """Say where a collection goes on. `lost` are the candidates that MongoDB can't resume from."""
    earlier, event = standing.earlier, _token(standing.event)
    if earlier.unreadable:
        return Refused(
            found=f"{earlier.unreadable} of the {earlier.documents} documents in {earlier.place} "
            "have no resume token in `value`",
            remedy="check --tokens; if others than the earlier connector have written there, "
            "remove what they wrote",
        )
    if earlier.newest is None:
        return Refused(
            found=f"there is no resume token in {earlier.place}",
            remedy="check --tokens and MONGO_URI; if the earlier connector never had an event of "
            "it, leave the collection out of MONGO_WATCH_COLLECTIONS for this command",
        )
    start, found = _start(standing, earlier.newest, event, lost)
    own = _token(standing.own)
    if own is None or (own in lost and own <= start):
        if start in lost:
            return Refused(found=lost[start].message, remedy=_LOST)
        return TakeOver(token=start, found=found)
    return _keep(own, start, event, lost)


_LOST = (
    "events in between can't be read any more: `mnc check` says how far the oplog reaches back, "
    "docs/migration.md how to go on from now"
)


def _start(
    standing: Standing,
    newest: ResumeToken,
    event: ResumeToken | None,
    lost: Mapping[ResumeToken, SourceError],
) -> tuple[ResumeToken, str]:
    """Return the token to go on after, and what it is."""
    if event is not None and (event >= newest or event not in lost):
        return event, f"after its last event in the stream, of {_time(event)}"
    published = standing.published
    if published is not None and published > newest:
        return published, f"after its last event in the earlier stream, of {_time(published)}"
    return newest, f"after the newest token in {standing.earlier.place}, of {_time(newest)}"


def _keep(
    own: ResumeToken,
    start: ResumeToken,
    event: ResumeToken | None,
    lost: Mapping[ResumeToken, SourceError],
) -> Decision:
    """Say whether mnc's own position is as good as the earlier connector's."""
    if own in lost:  # it lies in the future
        return Refused(found=lost[own].message, remedy=lost[own].remedy)
    if own > start and event is None:
        return Refused(
            found=f"mnc watches it already, from {_time(own)} on, and the earlier connector's "
            f"newest token is of {_time(start)}",
            remedy="if this command was applied before, nothing is left to do; if `mnc serve` was "
            "started without it, see docs/migration.md: what lies between is not in the stream",
        )
    return Kept(found=f"mnc has a position of its own, of {_time(own)}")


def _token(checkpoint: Checkpoint | None) -> ResumeToken | None:
    return None if checkpoint is None else checkpoint.position.token


def _time(token: ResumeToken) -> str:
    seconds = token.cluster_time.seconds
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
