"""What a setting's declaration says beside its type."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Allowed"]


@dataclass(frozen=True, slots=True)
class Allowed:
    """What a setting may be, in the words of its error message."""

    text: str
