"""The composition root: the parts of `mnc serve`, and the nursery tree that they run in."""

from mnc.service.tree import Running, run_service

__all__ = ["Running", "run_service"]
