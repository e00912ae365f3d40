"""Capture: what MongoDB committed, in order, as encoded events on their collections' routes."""
