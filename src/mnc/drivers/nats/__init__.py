"""NATS through nats-py on a trio-asyncio loop: fenced batches, the stream, and a follower of it."""
