"""Values of the Raft core for tests of what is around it."""

from __future__ import annotations

from mnc.raft import Entry, HardState, NodeId, Payload, Ready, Role, Snapshot, SoftState

__all__ = ["entry", "ready"]


def entry(index: int, term: int = 1, payload: Payload = b"command") -> Entry:
    """Make an entry."""
    return Entry(index=index, term=term, payload=payload)


def ready(
    *entries: Entry,
    vote: tuple[int, str | None] | None = None,
    snapshot: Snapshot | None = None,
    committed: tuple[Entry, ...] = (),
) -> Ready:
    """Make what a node wants stored; `vote` is the term and for whom."""
    return Ready(
        hard_state=None if vote is None else HardState(term=vote[0], vote=_node(vote[1])),
        snapshot=snapshot,
        entries=entries,
        messages=(),
        committed=committed,
        soft_state=SoftState(term=1, role=Role.FOLLOWER, leader=None),
    )


def _node(name: str | None) -> NodeId | None:
    return None if name is None else NodeId(name)
