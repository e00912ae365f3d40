"""The metrics of an instance's cluster, which an instance alone doesn't have."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge

__all__ = ["SPARE", "ClusterFigures", "ClusterTelemetry"]

SPARE: Final = "spare"
"""The role of a member without a vote."""

_ROLES: Final = ("follower", "pre-candidate", "candidate", "leader", SPARE)


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterFigures:
    """What one member knows of its group."""

    term: int
    role: str
    """One of Raft's roles, or SPARE."""
    leader: str | None
    commit_index: int
    voters: int
    spares: int
    joined: int
    """Members that have asked for work."""
    owned: frozenset[str]
    """The collections that this instance owns, those included that it is handing over."""


class ClusterTelemetry:
    """Shows the newest figures, and counts what changed between them.

    Invariants: exactly one role is 1 while there is a group, and none while there is not.
    """

    def __init__(self, registry: CollectorRegistry) -> None:
        self._term = Gauge("mnc_raft_term", "The term of this instance.", registry=registry)
        self._commit_index = Gauge(
            "mnc_raft_commit_index",
            "The last entry of the cluster's log that this instance knows to be committed.",
            registry=registry,
        )
        self._role = Gauge(
            "mnc_raft_role",
            "1 for the role of this instance in its group.",
            ("role",),
            registry=registry,
        )
        self._is_leader = Gauge(
            "mnc_raft_is_leader", "1 while this instance leads its group.", registry=registry
        )
        self._elections = Counter(
            "mnc_raft_elections",
            "New leaders that this instance has seen, the first included.",
            registry=registry,
        )
        self._members = Gauge(
            "mnc_cluster_members",
            "Members of the group: those that vote, spares, and those that have joined for work.",
            ("kind",),
            registry=registry,
        )
        self._owned = Gauge(
            "mnc_cluster_owned_collections",
            "Collections that this instance owns.",
            registry=registry,
        )
        self._moves = Counter(
            "mnc_cluster_moves",
            "Collections that this instance has come to own (gained) or owns no longer (lost).",
            ("direction",),
            registry=registry,
        )
        self._led: tuple[int, str] | None = None
        """The last leader, with its term."""
        self._known: frozenset[str] = frozenset()
        for direction in ("gained", "lost"):
            self._moves.labels(direction)
        self.note(None)

    def note(self, figures: ClusterFigures | None) -> None:
        """Show new figures; None while this instance has no group.

        To be called whenever they may have changed: what changes and changes back between two calls
        isn't counted.
        """
        for role in _ROLES:
            self._role.labels(role).set(figures is not None and figures.role == role)
        self._is_leader.set(figures is not None and figures.role == "leader")
        self._term.set(figures.term if figures else 0)
        self._commit_index.set(figures.commit_index if figures else 0)
        self._members.labels("voter").set(figures.voters if figures else 0)
        self._members.labels("spare").set(figures.spares if figures else 0)
        self._members.labels("joined").set(figures.joined if figures else 0)
        self._count_election(figures)
        owned = figures.owned if figures else frozenset[str]()
        self._owned.set(len(owned))
        self._moves.labels("gained").inc(len(owned - self._known))
        self._moves.labels("lost").inc(len(self._known - owned))
        self._known = owned

    def _count_election(self, figures: ClusterFigures | None) -> None:
        """Count a leader of another term: one that is lost for a while and comes back is none."""
        if figures is None or figures.leader is None:
            return
        led = (figures.term, figures.leader)
        if led != self._led:
            self._led = led
            self._elections.inc()
