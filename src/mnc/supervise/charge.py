"""What the supervisor knows of one collection that was assigned to it."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

import trio

from mnc.capture.route import Route
from mnc.errors import MncError, Recovery
from mnc.model import Epoch
from mnc.telemetry.lane import LaneTelemetry

__all__ = ["Acquiring", "Charge", "Down", "Preparing", "Running", "Waiting", "Work"]


@dataclass(frozen=True, slots=True)
class Waiting:
    """Nothing is done for the collection yet, or until it is tried again."""

    due_at: float
    """On the clock of trio.current_time()."""


@dataclass(frozen=True, slots=True)
class Preparing:
    """The stream is made ready for its cohort."""


@dataclass(frozen=True, slots=True)
class Acquiring:
    """Its position is looked for."""

    scope: trio.CancelScope = field(default_factory=trio.CancelScope)


@dataclass(frozen=True, slots=True)
class Running:
    """It has a lane."""

    route: Route
    copies: bool
    """Whether it takes a snapshot."""
    scope: trio.CancelScope = field(default_factory=trio.CancelScope)


@dataclass(frozen=True, slots=True)
class Down:
    """Its lane stays down, until a person has acted and the process starts anew."""


Work = Waiting | Preparing | Acquiring | Running | Down


@dataclass(slots=True, kw_only=True, eq=False)
class Charge:
    """One assignment of a collection, with an epoch, and what became of it so far."""

    collection: str
    epoch: Epoch
    telemetry: LaneTelemetry
    work: Work
    started_at: float = 0.0
    failure: MncError | None = None
    """What ended the last lane."""
    failures: Counter[Recovery] = field(default_factory=Counter)
    """How many in a row, by what heals them: a server that was away is no reason to rest long."""
    wants_snapshot: bool = False
    """Whether its next lane begins with a snapshot."""
    alone: bool = False
    """Whether it starts in a cohort of its own."""
