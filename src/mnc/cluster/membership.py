"""How the leader keeps the group whole: who is made a voter, and who is taken out. Pure.

There are as many voters as the cluster's size; everybody else is a learner, who stands by. One
change at a time; a silent voter is removed first, and its replacement promoted then. It is removed
only when a replacement is ready: on its own, it may come back with its disk. After a cluster was
made smaller there are voters too many; those that are silent need no replacement.

A change leaves the voters with a live majority if they have one: a removed voter is silent, and a
promoted learner answers.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from mnc.raft import AddLearner, Change, Configuration, NodeId, Promote, Remove

__all__ = ["GIVEN_UP_AFTER_S", "Follower", "next_change"]

GIVEN_UP_AFTER_S: Final = 10.0
"""Whoever is silent for so long is taken for gone. A process that restarts takes a few seconds;
taking it for gone costs sending it the log once more, as a learner."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Follower:
    """What the leader knows of another member of the group."""

    silent_s: float
    """For how long it has not answered, in seconds."""
    is_caught_up: bool
    """Whether it has all that is committed."""


def next_change(
    configuration: Configuration,
    *,
    size: int,
    node: NodeId,
    followers: Mapping[NodeId, Follower],
    greeting: Mapping[NodeId, str],
    names: Mapping[NodeId, str],
    answers_within_s: float,
) -> Change | None:
    """Return what the leader `node` should change next, or None while all is as it should be.

    `followers` has every other member of `configuration`. `greeting` has the names of those who
    said Hello lately and may be in this group, `names` those of the members as far as known. Who
    hasn't answered for `answers_within_s` is no replacement, and is replaced by its own namesake.
    """
    names = {**names, **greeting}
    learners = sorted(configuration.learners)
    ready = [
        learner
        for learner in learners
        if followers[learner].is_caught_up and followers[learner].silent_s < answers_within_s
    ]
    if ready and len(configuration.voters) < size:
        return Promote(ready[0])
    ready_names = {names.get(learner) for learner in ready} - {None}
    may_lack_one = bool(ready) or len(configuration.voters) > size
    for voter in _by_silence(configuration.voters - {node}, followers):
        has_namesake = names.get(voter) in ready_names
        patience_s = answers_within_s if has_namesake else GIVEN_UP_AFTER_S
        if may_lack_one and followers[voter].silent_s >= patience_s:
            return Remove(voter)
    for newcomer in sorted(greeting.keys() - configuration.members):
        return AddLearner(newcomer)
    for learner in learners:
        # One that was just added has never answered, but it greets.
        if learner not in greeting and followers[learner].silent_s >= GIVEN_UP_AFTER_S:
            return Remove(learner)
    return None


def _by_silence(nodes: frozenset[NodeId], followers: Mapping[NodeId, Follower]) -> list[NodeId]:
    """Return the most silent ones first."""
    return sorted(nodes, key=lambda node: (-followers[node].silent_s, node))
