"""Publish: fenced atomic batches into the stream, one in flight per collection."""
