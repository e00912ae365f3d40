"""Which member owns which collection. Pure.

A collection counts for whoever has it, or will have it when a handover that is under way is done.
What nobody alive has is granted at once; what somebody alive has too much of is handed over, so
that the new owner begins where the old one has ended.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import assert_never

from mnc.cluster.state import Assign, ClusterState, Share
from mnc.raft import NodeId

__all__ = ["OnLeader", "Policy", "Spread", "place"]


@dataclass(frozen=True, slots=True)
class Spread:
    """Everybody has as many collections as the others, or one more."""


@dataclass(frozen=True, slots=True)
class OnLeader:
    """The leader has them all."""

    leader: NodeId


Policy = OnLeader | Spread


def place(
    state: ClusterState,
    *,
    collections: AbstractSet[str],
    live: AbstractSet[NodeId],
    policy: Policy,
) -> Assign | None:
    """Return the command that gives each of `collections` to who should have it, or None.

    As few as possible change hands. Only members of `state` that are `live` get anything; a live
    owner that has left has all that it owns handed over. With nobody to give to, all stays.
    """
    workers = _workers(live & state.members.keys(), policy)
    grants: dict[str, NodeId] = {}
    handovers: dict[str, NodeId] = {}
    held = {name: _holder(state.shares.get(name), live) for name in sorted(collections)}
    for name, worker in _targets(held, workers).items():
        share = state.shares.get(name)
        if share is None or share.owner not in live:
            grants[name] = worker
        elif worker == share.owner:
            if share.heir is not None:
                grants[name] = worker  # the heir is gone, or has enough; the owner goes on
        elif worker != share.heir:
            handovers[name] = worker
    withdrawn = frozenset(state.shares.keys() - collections)
    if not (grants or handovers or withdrawn):
        return None
    return Assign(revision=state.revision, grants=grants, handovers=handovers, withdrawn=withdrawn)


def _workers(joined: AbstractSet[NodeId], policy: Policy) -> Sequence[NodeId]:
    match policy:
        case Spread():
            return sorted(joined)
        case OnLeader(leader):
            return [leader] if leader in joined else []
        case _:
            assert_never(policy)


def _holder(share: Share | None, live: AbstractSet[NodeId]) -> NodeId | None:
    """Return who has a collection once the handover under way is done; None for nobody alive."""
    if share is None:
        return None
    if share.heir in live:
        return share.heir
    return share.owner if share.owner in live else None


def _targets(held: Mapping[str, NodeId | None], workers: Sequence[NodeId]) -> Mapping[str, NodeId]:
    """Return who should have each collection: nothing when there is nobody to work."""
    if not workers:
        return {}
    held_by = {
        worker: [name for name, holder in held.items() if holder == worker] for worker in workers
    }
    quotas = _quotas(held_by, len(held))
    kept = {name: worker for worker in workers for name in held_by[worker][: quotas[worker]]}
    free = (name for name in held if name not in kept)
    given = zip(_vacancies(held_by, quotas), free, strict=True)
    return kept | {name: worker for worker, name in given}


def _quotas(held_by: Mapping[NodeId, Sequence[str]], count: int) -> Mapping[NodeId, int]:
    """Return how many each gets; who has most gets the one more, so that the fewest move."""
    least, extra = divmod(count, len(held_by))
    by_load = sorted(held_by, key=lambda worker: (-len(held_by[worker]), worker))
    return {worker: least + (rank < extra) for rank, worker in enumerate(by_load)}


def _vacancies(
    held_by: Mapping[NodeId, Sequence[str]], quotas: Mapping[NodeId, int]
) -> Iterator[NodeId]:
    """Yield each worker as often as it has fewer than its quota."""
    for worker, names in held_by.items():
        for _ in range(quotas[worker] - len(names)):
            yield worker
