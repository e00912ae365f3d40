"""Numbers as people read them. Pure."""

from __future__ import annotations

__all__ = ["bytes_text", "duration_text", "version_text"]

_UNITS = ("B", "KiB", "MiB", "GiB", "TiB")
_UNIT_FACTOR = 1024
_MINUTE_S = 60
_HOUR_S = 3600
_DAY_S = 86400


def bytes_text(size: int) -> str:
    """Write a size with the largest unit that leaves a number of at least 1."""
    value, units = float(size), iter(_UNITS)
    unit = next(units)
    while value >= _UNIT_FACTOR and unit != _UNITS[-1]:
        value, unit = value / _UNIT_FACTOR, next(units)
    return f"{value:.4g} {unit}"


def duration_text(seconds: float) -> str:
    """Write a duration of a millisecond to years in one unit."""
    if seconds < 1:
        return f"{seconds * 1000:.3g} ms"
    if seconds < 2 * _MINUTE_S:
        return f"{seconds:.3g} s"
    if seconds < 2 * _HOUR_S:
        return f"{seconds / _MINUTE_S:.3g} min"
    if seconds < 2 * _DAY_S:
        return f"{seconds / _HOUR_S:.3g} h"
    return f"{seconds / _DAY_S:.4g} days"


def version_text(version: tuple[int, ...]) -> str:
    """Write a version with dots."""
    return ".".join(map(str, version))
