"""Resume tokens in the form in which MongoDB 6.0 writes them, as far as order depends on it.

A token is hexadecimal: a type byte, the cluster time, the token's version and kind, the number
within a transaction, and the document's key. A high-water mark, which is no event's token, sorts
before the events of its cluster time.
"""

from __future__ import annotations

from mnc.model import ClusterTime, ResumeToken

__all__ = ["event_token", "high_water_mark", "invalidate_token"]

_HIGH_WATER_MARK = "2B0229296E04"
_EVENT = "2B022C01{index:04X}6E{key}04"
_INVALIDATE = "2B022C0100006F04"


def event_token(time: ClusterTime, *, index: int = 0, key: str = "") -> ResumeToken:
    """Return the token of the event that has number `index` among those of its cluster time."""
    return ResumeToken(_begin(time) + _EVENT.format(index=index, key=key.encode().hex().upper()))


def invalidate_token(time: ClusterTime) -> ResumeToken:
    """Return the token of the `invalidate` that follows a dropDatabase, whose index is 0."""
    return ResumeToken(_begin(time) + _INVALIDATE)


def high_water_mark(time: ClusterTime) -> ResumeToken:
    """Return the token that stands before every event of `time` and after all earlier ones."""
    return ResumeToken(_begin(time) + _HIGH_WATER_MARK)


def _begin(time: ClusterTime) -> str:
    return f"82{time.seconds:08X}{time.increment:08X}"
