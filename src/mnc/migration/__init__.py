"""Migration: taking over the positions of an earlier connector."""
