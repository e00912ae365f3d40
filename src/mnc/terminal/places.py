"""Where everything is that `mnc up` runs, and how to look at it. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

__all__ = ["Places"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Places:
    """The addresses of one `mnc up`."""

    version: str
    mongo_uri: str
    nats_url: str
    stream: str
    http_port: int
    data_dir: Path

    @property
    def http_url(self) -> str:
        """Where the connector answers."""
        return f"http://127.0.0.1:{self.http_port}"

    def rows(self) -> tuple[tuple[str, str], ...]:
        """Return names and addresses."""
        return (
            ("MongoDB", self.mongo_uri),
            ("NATS", f"{self.nats_url}, stream {self.stream}"),
            ("HTTP", f"{self.http_url}/health /readyz /status /metrics"),
            ("data", str(self.data_dir)),
        )

    def commands(self) -> tuple[str, ...]:
        """Return commands to look further with; all but the first are other projects' tools."""
        return (
            f"NATS_SERVER_URL={self.nats_url} mnc tail --from start --json",
            f'mongosh "{self.mongo_uri}"',
            f"nats --server {self.nats_url} stream view {self.stream}",
            f"curl {self.http_url}/status",
        )
