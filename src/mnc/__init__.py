"""mnc keeps a NATS JetStream stream in step with MongoDB collections."""

__all__ = ["__version__"]

__version__ = "0.1.0"
