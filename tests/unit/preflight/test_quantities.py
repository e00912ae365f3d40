"""Numbers as people read them."""

from __future__ import annotations

import pytest

from mnc.preflight.quantities import bytes_text, duration_text, version_text


@pytest.mark.parametrize(
    ("size", "text"),
    [
        (0, "0 B"),
        (1023, "1023 B"),
        (1024, "1 KiB"),
        (1536, "1.5 KiB"),
        (16 * 1024**2, "16 MiB"),
        (5 * 1024**5, "5120 TiB"),
    ],
)
def test_sizes_have_a_unit_that_fits(size: int, text: str) -> None:
    """A size has at most four digits, up to a petabyte."""
    assert bytes_text(size) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.00123, "1.23 ms"),
        (1, "1 s"),
        (119, "119 s"),
        (120, "2 min"),
        (7200, "2 h"),
        (47 * 3600, "47 h"),
        (7 * 86400, "7 days"),
        (1234 * 86400, "1234 days"),
    ],
)
def test_durations_have_a_unit_that_fits(seconds: float, text: str) -> None:
    """A duration has one unit, between a millisecond and days."""
    assert duration_text(seconds) == text


def test_versions_have_dots() -> None:
    """A version is written as its makers write it."""
    assert version_text((2, 12, 0)) == "2.12.0"
