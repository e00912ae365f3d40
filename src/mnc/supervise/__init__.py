"""Supervision: which readers and lanes run, and what happens when one fails."""
