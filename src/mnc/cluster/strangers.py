"""Who speaks on the cluster's subjects without belonging to it. Pure."""

from __future__ import annotations

from collections.abc import Mapping

__all__ = ["Strangers"]

_LATELY_S = 30.0
"""An instance without a group is heard twice a second, and one that is in another group only when
it looks for its leader; so this is long enough to be seen, and short enough to be true."""

_LIMIT = 64
"""Strangers that are remembered: more than a person reads, and bounded whoever speaks."""

_NAMELESS = "?"


class Strangers:
    """Remember strangers, and which of them were reported.

    Invariants: at most 64 are remembered, those who were heard last.
    """

    def __init__(self) -> None:
        self._heard: dict[str, tuple[str, float]] = {}

    def note(self, sender: str | None, reason: str, *, now_s: float) -> bool:
        """Remember one; say whether this is news: a new sender, or another reason."""
        name = sender or _NAMELESS
        known, _ = self._heard.pop(name, (None, now_s))
        self._heard[name] = (reason, now_s)
        while len(self._heard) > _LIMIT:
            del self._heard[next(iter(self._heard))]
        return known != reason

    def heard_lately(self, now_s: float) -> Mapping[str, str]:
        """Return the reasons by sender, of those heard in the last half minute."""
        return {
            name: reason
            for name, (reason, heard_at_s) in self._heard.items()
            if now_s - heard_at_s <= _LATELY_S
        }
