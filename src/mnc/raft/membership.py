"""Single-server changes of the members (dissertation §4). Pure.

One server is added or removed at a time, so that any majority of the old voters and any majority
of the new ones have a server in common (§4.1). A joining server is a learner first, so that it
doesn't hold up commits while it catches up (§4.2.1).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import assert_never

from mnc.raft.errors import Refusal, RefusedError
from mnc.raft.types import Configuration, NodeId

__all__ = ["AddLearner", "Change", "Promote", "Remove", "changed"]


@dataclass(frozen=True, slots=True)
class AddLearner:
    """Begin to send the log to a node that is not a member."""

    node: NodeId


@dataclass(frozen=True, slots=True)
class Promote:
    """Make a learner a voter."""

    node: NodeId


@dataclass(frozen=True, slots=True)
class Remove:
    """Take a voter or a learner out of the group."""

    node: NodeId


Change = AddLearner | Promote | Remove


def changed(configuration: Configuration, change: Change) -> Configuration:
    """Return the configuration after `change`.

    Raises RefusedError when the change doesn't apply to this configuration.
    """
    node = frozenset({change.node})
    match change:
        case AddLearner():
            if node <= configuration.members:
                raise RefusedError(Refusal.ALREADY_MEMBER)
            return replace(configuration, learners=configuration.learners | node)
        case Promote():
            if not node <= configuration.learners:
                raise RefusedError(Refusal.NOT_LEARNER)
            return Configuration(
                voters=configuration.voters | node, learners=configuration.learners - node
            )
        case Remove():
            if not node <= configuration.members:
                raise RefusedError(Refusal.NOT_MEMBER)
            return Configuration(
                voters=configuration.voters - node, learners=configuration.learners - node
            )
        case _:
            assert_never(change)
