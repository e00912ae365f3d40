"""SQLite from the standard library: what a member of the Raft group has on its disk."""
