"""What an instance knows of its cluster, for people and for metrics. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from mnc.cluster.messages import GroupId
from mnc.cluster.state import ClusterState
from mnc.raft import Configuration, NodeId, SoftState
from mnc.telemetry.cluster import SPARE, ClusterFigures

__all__ = ["ClusterView"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterView:
    """One member's view of its group; another member's may be newer."""

    node: NodeId
    group: GroupId
    soft_state: SoftState
    commit_index: int
    configuration: Configuration
    state: ClusterState

    def status(self) -> Mapping[str, object]:
        """Return what `/status` shows."""
        configuration, soft = self.configuration, self.soft_state
        return {
            "node": self.node,
            "group": self.group,
            "role": self._role,
            "term": soft.term,
            "leader": soft.leader,
            "commit_index": self.commit_index,
            "members": [self._member(node) for node in sorted(configuration.members)],
            "assignment": [
                {
                    "collection": name,
                    "owner": share.owner,
                    "epoch": share.epoch,
                    "heir": share.heir,
                }
                for name, share in sorted(self.state.shares.items())
            ],
        }

    def figures(self) -> ClusterFigures:
        """Return what the metrics show."""
        return ClusterFigures(
            term=self.soft_state.term,
            role=self._role,
            leader=self.soft_state.leader,
            commit_index=self.commit_index,
            voters=len(self.configuration.voters),
            spares=len(self.configuration.learners),
            joined=len(self.state.members),
            owned=frozenset(
                name for name, share in self.state.shares.items() if share.owner == self.node
            ),
        )

    @property
    def _role(self) -> str:
        is_voter = self.node in self.configuration.voters
        return self.soft_state.role.value if is_voter else SPARE

    def _member(self, node: NodeId) -> Mapping[str, object]:
        joined = self.state.members.get(node)
        return {
            "node": node,
            "name": joined.name if joined else None,
            "joined": joined is not None,
            "votes": node in self.configuration.voters,
        }
