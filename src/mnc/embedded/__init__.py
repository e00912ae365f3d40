"""The embedded default: real servers as child processes, and sample data to look at."""
