"""How clients are led through a proxy, and kept there."""

from __future__ import annotations

from tests.injection.sockets import HOST

__all__ = ["mongo_uri", "nats_url"]


def nats_url(port: int) -> str:
    """Return the URL of a NATS server behind the proxy at `port`.

    A single server tells clients of no other address, so they stay behind the proxy.
    """
    return f"nats://{HOST}:{port}"


def mongo_uri(port: int, database: str = "") -> str:
    """Return the connection string of a mongod behind the proxy at `port`.

    Otherwise than by a direct connection drivers go to the addresses in the replica set's
    configuration, past the proxy. Change streams and transactions work all the same.
    """
    return f"mongodb://{HOST}:{port}/{database}?directConnection=true"
