"""Telemetry: log events, metrics and status snapshots."""
