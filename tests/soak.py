"""Marks for tests that run for many minutes."""

from __future__ import annotations

import pytest

__all__ = ["SOAK"]

SOAK = (pytest.mark.soak, pytest.mark.timeout(1800))
"""Leaves a parameter set to `.scripts/soak`, and gives it half an hour."""
