"""What the broker takes alone: atomic batches as mnc sends them, by form of subject and replicas.

    python -m bench.broker [--messages 60000] [--batch 1000]

Four lanes publish batches with a message id in each message, one batch in flight each, as four busy
collections do. Messages have a subject each, as by default, or one for all of a lane, as with
NATS_SUBJECT without an id; the stream is on one server, or replicated on three. The rate has this
process's share of the machine in it; CPU is that of all servers together.
"""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

import click
import nats
from nats.aio.client import Client
from tests.jetstream import ask_jetstream
from tests.nats_cluster import NODES, NatsCluster

from bench.figures import per_event_us, print_table
from bench.plots import plot_option, save_bars
from bench.processes import CpuMeter, rss_mb
from mnc.embedded.servers import NatsServerProcess, start_nats_server

__all__: list[str] = []

_STREAM = "bench"
_LANES = 4
_PAYLOAD = b"x" * 500
_ACK_TIMEOUT_S = 30.0


@dataclass(frozen=True, slots=True, kw_only=True)
class _Broker:
    """Servers of one stream."""

    url: str
    servers: Sequence[NatsServerProcess]


class _Starter:
    """Starts servers in folders of their own, as `NatsCluster` asks for them."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.servers: list[NatsServerProcess] = []

    def __call__(
        self,
        data_dir: Path | None = None,
        *,
        port: int = 0,
        jetstream: bool = True,
        extra_config: str = "",
        version: str | None = None,
    ) -> NatsServerProcess:
        """Start one; `version` is for tests, the newest it is here."""
        del version
        server = start_nats_server(
            data_dir or self._folder / f"nats-{len(self.servers)}",
            port=port,
            jetstream=jetstream,
            extra_config=extra_config,
        )
        self.servers.append(server)
        return server


@click.command()
@click.option("--messages", default=60_000, show_default=True, help="Messages of each kind.")
@click.option("--batch", default=1000, show_default=True, help="Messages in a batch, 1000 at most.")
@plot_option
def main(*, messages: int, batch: int, plot: Path | None) -> None:
    """Print what storing costs the broker."""
    rows: list[Sequence[str]] = []
    costs: dict[str, float] = {}
    for replicas in (1, len(NODES)):
        for has_own_subjects in (True, False):
            kind = f"R{replicas}, {'a subject each' if has_own_subjects else 'one subject a lane'}"
            click.echo(f"{kind} ...", err=True)
            with _running(replicas) as broker:
                _create(broker, replicas)
                meter = CpuMeter({"": [server.pid for server in broker.servers]})
                began_at = time.monotonic()
                asyncio.run(_publish_all(broker.url, messages, batch, has_own_subjects))
                took_s = time.monotonic() - began_at
                cost = per_event_us(meter.spent_s()[""], messages)
                costs[kind] = cost
                rows.append(
                    (
                        kind,
                        f"{messages / took_s:,.0f}",
                        f"{cost:.1f}",
                        f"{max(rss_mb(server.pid) for server in broker.servers):.0f}",
                    )
                )
    print_table(
        f"{messages:,} messages of {len(_PAYLOAD)} bytes in batches of {batch:,}",
        ("stream", "messages /s", "CPU us of all servers", "most RSS MB"),
        rows,
    )
    if plot:
        save_bars(
            plot,
            title="CPU of the broker's servers for each message",
            y_label="µs",
            groups=list(costs),
            bars={"": list(costs.values())},
        )


@contextmanager
def _running(replicas: int) -> Iterator[_Broker]:
    with ExitStack() as cleanup:
        folder = Path(cleanup.enter_context(tempfile.TemporaryDirectory(prefix="mnc-bench-")))
        start = _Starter(folder)
        try:
            url = start().url if replicas == 1 else NatsCluster(start).url
            yield _Broker(url=url, servers=start.servers)
        finally:
            for server in start.servers:
                server.kill()


def _create(broker: _Broker, replicas: int) -> None:
    answer = ask_jetstream(
        broker.url,
        f"STREAM.CREATE.{_STREAM}",
        {
            "name": _STREAM,
            "subjects": [f"{_STREAM}.>"],
            "discard": "new",
            "num_replicas": replicas,
            "allow_atomic": True,
        },
    )
    if "error" in answer:
        raise RuntimeError(f"JetStream refuses the stream: {answer['error']}")


async def _publish_all(url: str, messages: int, batch: int, has_own_subjects: bool) -> None:
    async def run_lane(lane: int) -> None:
        client = await nats.connect(url.split(","))
        for first in range(0, messages // _LANES, batch):
            numbers = range(first, min(first + batch, messages // _LANES))
            await _publish_batch(client, lane, numbers, has_own_subjects)
        await client.close()

    await asyncio.gather(*(run_lane(lane) for lane in range(_LANES)))


async def _publish_batch(
    client: Client, lane: int, numbers: Sequence[int], has_own_subjects: bool
) -> None:
    batch_id = uuid4().hex
    for place, number in enumerate(numbers, 1):
        subject = f"{_STREAM}.{lane}.{number if has_own_subjects else 'all'}"
        headers = {
            "Nats-Msg-Id": f"{lane}-{number}",
            "Nats-Batch-Id": batch_id,
            "Nats-Batch-Sequence": str(place),
        }
        if place < len(numbers):
            await client.publish(subject, _PAYLOAD, headers=headers)
            continue
        headers["Nats-Batch-Commit"] = "1"
        answer = await client.request(subject, _PAYLOAD, timeout=_ACK_TIMEOUT_S, headers=headers)
        if b'"error"' in answer.data:
            raise RuntimeError(f"JetStream refuses a batch: {answer.data.decode()}")


if __name__ == "__main__":
    main()
