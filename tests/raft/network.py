"""A network that loses, repeats, delays and reorders messages, and falls apart."""

from __future__ import annotations

import random
from collections.abc import Sequence
from itertools import permutations

from mnc.raft import NodeId

__all__ = ["SimulatedNetwork"]

_USUAL_DELAY_S = 0.02
_LATE_SHARE = 0.05


class SimulatedNetwork:
    """Decides when the copies of a message arrive, if at all.

    How bad it is at its worst is drawn once, so that schedules differ in kind. It is perfect but
    for a short delay after `heal`.
    """

    __slots__ = ("_blocked", "_late_s", "_loss", "_repeat", "_rng", "_troubled")

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng
        self._loss = rng.choice((0.0, 0.02, 0.2))
        self._repeat = rng.choice((0.0, 0.02, 0.1))
        self._late_s = rng.choice((0.02, 0.3, 3.0))
        self._blocked: set[tuple[NodeId, NodeId]] = set()
        self._troubled = self._loss + self._repeat + _LATE_SHARE

    def delays_s(self, sender: NodeId, receiver: NodeId) -> tuple[float, ...]:
        """Return how long each copy of a message takes."""
        if self._blocked and (sender, receiver) in self._blocked:
            return ()
        random_ = self._rng.random
        delay_s = random_() * _USUAL_DELAY_S
        trouble = random_()
        if trouble >= self._troubled:
            return (delay_s,)
        if trouble < self._loss:
            return ()
        if trouble < self._loss + self._repeat:
            return (delay_s, random_() * self._late_s)
        return (random_() * self._late_s,)

    def split(self, nodes: Sequence[NodeId]) -> str:
        """Fall apart in one of many ways, and say how."""
        rng = self._rng
        links = list(permutations(nodes, 2))
        kind = rng.choice(("groups", "isolated", "one way", "one link", "some links"))
        match kind:
            case "groups" | "isolated":
                size = 1 if kind == "isolated" else rng.randint(1, len(nodes) - 1)
                side = set(rng.sample(nodes, size))
                self._blocked = {(a, b) for a, b in links if (a in side) != (b in side)}
            case "one way":
                side = set(rng.sample(nodes, rng.randint(1, len(nodes) - 1)))
                self._blocked = {(a, b) for a, b in links if a in side and b not in side}
            case "one link":
                a, b = rng.choice(links)
                self._blocked = {(a, b), (b, a)}
            case _:
                self._blocked = set(rng.sample(links, rng.randint(1, len(links) // 2)))
        cut = " ".join(f"{a}>{b}" for a, b in sorted(self._blocked))
        return f"network splits, {kind}: {cut}"

    def join(self) -> None:
        """Connect everybody again."""
        self._blocked = set()

    def heal(self) -> None:
        """Be perfect from now on."""
        self.join()
        self._troubled = 0.0
