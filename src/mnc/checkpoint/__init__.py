"""Checkpoint: how far a collection is stored, kept in MongoDB after the acknowledgement."""
