"""Many instances that look for a group, in virtual time: Hellos are lost, foundings are raced for.

A group's log isn't played, only whether it works: it does when most of its first voters are up and
have entered it. Then those in it know a leader, who calls everybody whose Hello arrives.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import count

from mnc.cluster.formation import Enter, Found, Founding, Sighting, Wait, decide
from mnc.cluster.messages import GroupId, Hello
from mnc.cluster.state import ClusterState, decode_state
from mnc.raft import NodeId

__all__ = ["STEP_S", "Gathering", "Instance"]

STEP_S = 0.5
"""How often an instance says Hello and decides."""


@dataclass(eq=False)
class Instance:
    """A process and its disk."""

    node: NodeId
    started_at_s: float
    is_up: bool = True
    group: GroupId | None = None
    state: ClusterState | None = None
    entered: list[GroupId] = field(default_factory=list)
    """Every group that its disk was ever in."""
    heard: dict[NodeId, tuple[Hello, float]] = field(default_factory=dict)
    led_at_s: float = 0.0
    """When it last knew a leader."""


class Gathering:
    """Instances, the register, and the time."""

    def __init__(self, *, size: int, seed: int) -> None:
        self.size = size
        self.now_s = 0.0
        self.loss = 0.0
        """The share of the messages that is lost; also of the reads of the register."""
        self.instances: list[Instance] = []
        self.register: Founding | None = None
        self.stored: list[Founding] = []
        """Every founding that was ever in the register."""
        self._random = random.Random(seed)
        self._numbers = count()

    def start(self) -> Instance:
        """Start an instance with an empty disk, whose identity sorts anywhere."""
        node = NodeId(f"{self._random.random():.6f}")
        instance = Instance(node, started_at_s=self.now_s)
        self.instances.append(instance)
        return instance

    def restart(self, instance: Instance) -> None:
        """Start an instance with the disk that it had."""
        instance.is_up, instance.started_at_s = True, self.now_s
        instance.heard.clear()

    @property
    def up(self) -> list[Instance]:
        """The processes that run."""
        return [instance for instance in self.instances if instance.is_up]

    def works(self, founding: Founding) -> bool:
        """Say whether a group has a leader."""
        voters = [each for each in self.up if each.node in founding.voters]
        inside = [each for each in voters if each.group == founding.group]
        return len(inside) * 2 > len(founding.voters)

    def is_settled(self) -> bool:
        """Say whether all that run are led in the newest group."""
        newest = self.register
        return newest is not None and all(
            each.group == newest.group and each.led_at_s == self.now_s for each in self.up
        )

    def run(self, seconds: float) -> None:
        """Let time pass."""
        for _ in range(round(seconds / STEP_S)):
            self.now_s += STEP_S
            self._lead()
            for sender in self.up:
                if sender.led_at_s < self.now_s:
                    self._broadcast(self._hello(sender))
            # All decide on what was read before any of them has stored anything.
            read = self.register
            for instance in self._random.sample(self.up, len(self.up)):
                if not self._is_lost():
                    self._decide(instance, read)

    def _lead(self) -> None:
        for founding in self.stored:
            if self.works(founding):
                for each in self.up:
                    # Those outside are called after they have said Hello, which may be lost.
                    is_inside = each.group == founding.group and (
                        each.node in founding.voters or not self._is_lost()
                    )
                    if is_inside:
                        each.led_at_s = self.now_s
                        each.state = each.state or decode_state(founding.state)

    def _broadcast(self, hello: Hello) -> None:
        for receiver in self.up:
            if receiver.node != hello.sender and not self._is_lost():
                receiver.heard[hello.sender] = (hello, self.now_s)

    def _decide(self, instance: Instance, read: Founding | None) -> None:
        decision = decide(
            self._hello(instance),
            sightings=list(self._sightings(instance)),
            founding=read,
            state=instance.state,
            size=self.size,
            new_group=GroupId(f"group-{next(self._numbers)}"),
            now_ms=round(self.now_s * 1000),
        )
        match decision:
            case Found(founding):
                if self.register is None or self.register.generation < founding.generation:
                    self.register = founding
                    self.stored.append(founding)
            case Enter(founding):
                instance.group = founding.group
                instance.entered.append(founding.group)
                is_voter = instance.node in founding.voters
                instance.state = decode_state(founding.state) if is_voter else None
            case Wait():
                pass

    def _hello(self, instance: Instance) -> Hello:
        return Hello(
            sender=instance.node,
            name="pod",
            group=instance.group,
            last_term=0 if instance.state is None else 1,
            last_index=0 if instance.state is None else 1,
            leaderless_s=self.now_s - max(instance.led_at_s, instance.started_at_s),
        )

    def _sightings(self, instance: Instance) -> Iterator[Sighting]:
        for hello, heard_at_s in instance.heard.values():
            yield Sighting(hello=hello, age_s=self.now_s - heard_at_s)

    def _is_lost(self) -> bool:
        return self._random.random() < self.loss
