"""What services in Python use to read the stream's messages; see docs/messages.md."""

from mnc.drivers.nats.resolve import PayloadMismatchError, resolve

__all__ = ["PayloadMismatchError", "resolve"]
