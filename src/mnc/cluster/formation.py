"""How a group begins: who founds it, who enters it, and when another takes its place. Pure.

Instances find one another by Hello, and agree by one document in MongoDB, the *founding*, which is
stored by compare-and-set. So there is one group of each generation, however many instances start,
and whatever they hear of one another. What they hear only decides when a founding is tried.

- Without a founding, as many instances as the cluster's size have to meet, all without a group.
- A founding names the first voters. Everybody else enters too, and waits to be called by the
  group's leader, who hears their Hello.
- A group that has lost its majority for good is replaced: when as many instances as the cluster's
  size have met and none has known a leader for a while, the next generation is founded. Whoever
  reads that leaves the old group.

A group can still work where nobody of those who met can hear it. Replacing it then is harmless: it
ends as soon as its members read the founding, its epochs are older, and until then the stream's
fence keeps the two apart.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from mnc.cluster.messages import GroupId, Hello
from mnc.cluster.state import ClusterState, carried_over, encode_state, initial_state
from mnc.raft import NodeId

__all__ = [
    "LOST_AFTER_S",
    "MEETING_S",
    "Decision",
    "Enter",
    "Found",
    "Founding",
    "Sighting",
    "Wait",
    "decide",
]

MEETING_S: Final = 2.0
"""Instances have met that heard each other within this time: four times the pause between Hellos,
so that three of them may be lost."""

LOST_AFTER_S: Final = 15.0
"""A group without a leader for so long has lost its majority. An election takes a second or two; a
machine that restarts takes longer than this, and its group is replaced for nothing then, which
costs each lane a restart."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Founding:
    """How a cluster's newest group began. There is one at a time, with the highest generation."""

    group: GroupId
    generation: int
    """1 for the first group, and one more for each that replaced a group which had lost its
    majority for good."""
    voters: frozenset[NodeId]
    state: bytes
    """What the group's replicated state began with."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sighting:
    """The newest Hello of another instance."""

    hello: Hello
    age_s: float
    """For how long that has been known, in seconds."""


@dataclass(frozen=True, slots=True)
class Wait:
    """Do nothing now: ask again when more is heard, or later."""


@dataclass(frozen=True, slots=True)
class Found:
    """Store this founding, and decide again with what is stored then."""

    founding: Founding


@dataclass(frozen=True, slots=True)
class Enter:
    """Leave the group that one is in, if any, and begin in this one.

    Its voters begin from `bootstrap` with the founding's state, everybody else from `Persisted()`.
    """

    founding: Founding


Decision = Enter | Found | Wait


def decide(
    own: Hello,
    *,
    sightings: Sequence[Sighting],
    founding: Founding | None,
    state: ClusterState | None,
    size: int,
    new_group: GroupId,
    now_ms: int,
) -> Decision:
    """Say what to do, given a newest `founding` that was read AFTER `own.group` was entered.

    `state` is what the instance has applied in its group, None for nothing. `sightings` has one
    of each other instance. `new_group` names the group that may be founded, and `now_ms` is the
    time in milliseconds since 1970, which its epochs begin with.
    """
    if own.group is not None:
        kept = Founding(
            group=own.group,
            generation=0 if state is None else state.generation,
            voters=frozenset(),
            state=b"",
        )
        if founding is None or founding.generation < kept.generation:
            return Found(kept)  # somebody has removed the document
    if founding is not None and founding.group != own.group:
        return Enter(founding)
    met = [own, *(each.hello for each in sightings if each.age_s <= MEETING_S)]
    if len(met) < size or own != _founder(met, founding) or not _is_needed(met, founding):
        return Wait()
    generation = 1 if founding is None else founding.generation + 1
    first = (
        initial_state(generation, first_epoch=now_ms)
        if state is None
        else carried_over(state, generation, first_epoch=now_ms)
    )
    return Found(
        Founding(
            group=new_group,
            generation=generation,
            voters=frozenset(sorted(hello.sender for hello in met)[:size]),
            state=encode_state(first),
        )
    )


def _is_needed(met: Sequence[Hello], founding: Founding | None) -> bool:
    """Say whether nobody knows a group that works."""
    if founding is None:
        return all(hello.group is None for hello in met)
    return all(hello.leaderless_s >= LOST_AFTER_S for hello in met)


def _founder(met: Sequence[Hello], founding: Founding | None) -> Hello:
    """Return who has most of the group's log, so that its state is carried over."""

    def rank(hello: Hello) -> tuple[bool, int, int, NodeId]:
        is_elsewhere = founding is not None and hello.group != founding.group
        return is_elsewhere, -hello.last_term, -hello.last_index, hello.sender

    return min(met, key=rank)
