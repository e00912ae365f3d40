"""What the package's docstring shows works."""

from __future__ import annotations

import doctest

import mnc.raft


def test_the_example_works_as_written() -> None:
    """A stranger who drives the core as its docstring says gets what it says."""
    assert doctest.testmod(mnc.raft).failed == 0
