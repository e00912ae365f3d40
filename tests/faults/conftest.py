"""Fixtures of the fault tests."""

from tests.deployment import deploy

__all__ = ["deploy"]
