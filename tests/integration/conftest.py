"""Fixtures of the integration tests."""

from tests.deployment import deploy

__all__ = ["deploy"]
