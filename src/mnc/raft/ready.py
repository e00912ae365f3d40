"""What a node hands to its driver."""

from __future__ import annotations

from typing import NamedTuple

from mnc.raft.messages import Message
from mnc.raft.types import Entry, HardState, Snapshot, SoftState

__all__ = ["Ready"]


class Ready(NamedTuple):
    """What a node wants done, in the order of the fields.

    Invariants: whatever `messages`, `committed` and `soft_state` rest on is on the disk once
    `hard_state`, `snapshot` and `entries` of this and of all earlier ones are.
    """

    hard_state: HardState | None
    """To be stored BEFORE the rest; None when it has not changed."""
    snapshot: Snapshot | None
    """From the leader: replaces the stored snapshot and ALL stored entries, and the application's
    state when it comes to applying. None: there is none."""
    entries: tuple[Entry, ...]
    """To be stored: they replace the stored entries from the first one's index on."""
    messages: tuple[Message, ...]
    """To be sent once all of the above is on the disk."""
    committed: tuple[Entry, ...]
    """To be applied in this order, after `snapshot`, once all of the above is on the disk."""
    soft_state: SoftState
    """What the node is now."""
