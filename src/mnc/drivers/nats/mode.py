"""The ways of publishing to a stream, and what each of them does not promise. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import Enum

__all__ = ["Mode", "mode_without_batches"]

_CHAIN_WINDOW_MIN_NS = 30 * 10**9
"""The least duplicate window with which a replicated stream may be written in chains.

A server that starts reads the stream's last message id from messages inside the window only. With
100 ms, replicas disagreed on it and the stream stood still; with 2 minutes they didn't.
"""

_POSITION = (
    "a collection's position stands in its last event: once that event is removed from the stream "
    "(purge, max_age, max_msgs, work queue), a start relies on the resume token in MongoDB, and "
    "events since its last write may be stored twice"
)
_REPLICAS = (
    "on a replicated stream, two connectors that own the same collection may store an event twice "
    "when a server answers that has just ceased to be the stream's leader"
)


class Mode(Enum):
    """How events get into the stream."""

    ATOMIC = "atomic"
    """Atomic batches behind the fence of a position marker."""

    CHAINED = "chained"
    """Each message names its predecessor, of which there is one row in flight for the stream."""

    SEQUENTIAL = "sequential"
    """One message in flight for the stream, which names the sequence that it expects."""

    @property
    def not_promised(self) -> Sequence[str]:
        """What this mode does not promise and `ATOMIC` does, in sentences."""
        match self:
            case Mode.ATOMIC:
                return ()
            case Mode.CHAINED | Mode.SEQUENTIAL:
                return (_POSITION, _REPLICAS)


def mode_without_batches(config: Mapping[str, object]) -> Mode:
    """Return the strongest mode for a stream that takes no atomic batches."""
    replicas, window_ns = config.get("num_replicas", 1), config.get("duplicate_window", 0)
    if not isinstance(replicas, int) or not isinstance(window_ns, int):
        raise TypeError("JetStream's configuration has numbers there")
    if replicas > 1 and window_ns < _CHAIN_WINDOW_MIN_NS:
        return Mode.SEQUENTIAL
    return Mode.CHAINED
