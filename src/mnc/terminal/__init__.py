"""The stream's events in a terminal: read, shown as lines or as a live view."""
