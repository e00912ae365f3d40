"""For how long the other members of a group have not answered. Pure.

Counted in turns of the clock's task: see `mnc.cluster.replica`. Only a leader is answered by all
others, so that what counts is the time in which this member leads.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from collections.abc import Set as AbstractSet

from mnc.raft import NodeId

__all__ = ["Silence"]


class Silence:
    """What one member knows of the others' silence.

    Invariants: whoever was heard in a turn has been silent for no turn then, in all neither.
    """

    def __init__(self, *, missed_after: int) -> None:
        """Know nothing. Whoever is silent for `missed_after` turns is missed; so is who is gone."""
        self._missed_after = missed_after
        self._heard: dict[NodeId, int] = {}
        self._gone: set[NodeId] = set()
        self._before: Counter[NodeId] = Counter()

    @property
    def gone(self) -> AbstractSet[NodeId]:
        """Whose process is gone, by what the broker says, and was not heard since."""
        return self._gone

    def hear(self, node: NodeId, turn: int) -> None:
        """Note that a member has answered."""
        self._heard[node] = turn
        self._gone.discard(node)
        del self._before[node]

    def miss(self, node: NodeId) -> None:
        """Note that a member's process is gone."""
        self._gone.add(node)

    def begin_to_lead(self, members: Iterable[NodeId], turn: int) -> None:
        """Begin to count anew for `members`, who have the time of a follower to answer."""
        for node in members:
            self._heard[node] = turn
            self._gone.discard(node)

    def cease_to_lead(self, members: Iterable[NodeId], turn: int) -> None:
        """Keep how long `members` were silent, for the next time that this member leads."""
        for node in members:
            self._before[node] += self.turns(node, turn)

    def turns(self, node: NodeId, turn: int) -> int:
        """Return for how many turns a member has not answered in this leadership."""
        turns = turn - self._heard.get(node, turn)
        return max(turns, self._missed_after) if node in self._gone else turns

    def turns_in_all(self, node: NodeId, turn: int) -> int:
        """Return the same over all leaderships of this member, once it is missed in this one.

        Where the leader changes again and again, nobody would be given up otherwise; and it does,
        when every one that is left has to answer in time.
        """
        turns = self.turns(node, turn)
        return turns + self._before[node] if turns >= self._missed_after else turns
