"""HTTP: the probes, metrics and status of one process, behind a guarded server."""
