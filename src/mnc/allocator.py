"""Make the C library give memory back, so that the byte budget bounds the process too.

Payloads are made in one thread and freed in another, in sizes that keep changing. Left to itself,
glibc keeps an arena for each thread, and stops mapping large blocks one by one after a few were
freed. It then holds several times what is in use: 405 MB instead of 117 for documents of 100 KB.
"""

from __future__ import annotations

import ctypes

__all__ = ["bound_allocator"]

_M_MMAP_THRESHOLD = -3
_M_ARENA_MAX = -8
"""Options of mallopt(3)."""

_MMAP_FROM_BYTES = 64 * 1024
"""Blocks from this size are mapped, and unmapped when freed; setting it stops glibc raising it."""


def bound_allocator() -> None:
    """Set glibc's allocator up; does nothing with another C library. Call it before any thread."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_MMAP_THRESHOLD, _MMAP_FROM_BYTES)
        mallopt(_M_ARENA_MAX, 1)
