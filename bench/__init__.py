"""Benchmarks: each a command that prints ratios against a limit measured in the same run."""
