"""How far spreading collections over members scales, simulated: who has what, and how much of it.

    python -m bench.placement [--collections 20 --collections 1000] [--members 3 ...] [--seed 1]

The rule that spreads collections is called as the leader calls it, without servers. It counts
collections and knows nothing of their load. So with a load that is the same for each, members work
together at nearly as many times the rate of one; where few collections have most of the load, whose
member is busiest decides. "Skewed" is a load after Zipf: the second busiest collection has half of
the busiest's, the third a third; the figure is the mean over many shuffles.
"""

from __future__ import annotations

import random
import statistics
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import click

from bench.figures import print_table
from bench.plots import plot_option, save_lines
from mnc.cluster.placement import Spread, place
from mnc.cluster.state import ClusterState, Join, apply, encode_state, initial_state
from mnc.raft import NodeId

__all__ = ["speed_up"]

_SHUFFLES = 100


@click.command()
@click.option(
    "--collections",
    "counts",
    type=click.IntRange(min=1),
    multiple=True,
    default=(20, 1000),
    show_default=True,
    help="How many collections; may be given several times.",
)
@click.option(
    "--members",
    "sizes",
    type=click.IntRange(min=1),
    multiple=True,
    default=(1, 2, 3, 5, 9),
    show_default=True,
    help="How many members; may be given several times.",
)
@click.option("--seed", default=1, show_default=True, help="Of the shuffles.")
@plot_option
def main(*, counts: Sequence[int], sizes: Sequence[int], seed: int, plot: Path | None) -> None:
    """Print how much faster than one member several are, at best."""
    rng = random.Random(seed)  # noqa: S311 - which collection is busy, no secret
    rows: list[Sequence[str]] = []
    lines: dict[str, list[tuple[float, float]]] = {}
    for count in counts:
        names = [f"c{number}" for number in range(count)]
        even = dict.fromkeys(names, 1.0)
        for members in sizes:
            began_s = time.perf_counter()
            state = _spread(names, members)
            took_s = time.perf_counter() - began_s
            owners = {name: share.owner for name, share in state.shares.items()}
            skewed = statistics.fmean(
                speed_up(owners, _skewed(names, rng)) for _ in range(_SHUFFLES)
            )
            rows.append(
                (
                    f"{count:,} over {members}",
                    f"{speed_up(owners, even):.2f}",
                    f"{skewed:.2f}",
                    f"{_moved(state, names):,}",
                    f"{took_s * 1000:.1f}",
                    f"{len(encode_state(state)) / 1000:.1f}",
                )
            )
            lines.setdefault(f"{count:,}, even", []).append((members, speed_up(owners, even)))
            lines.setdefault(f"{count:,}, skewed", []).append((members, skewed))
    columns = ("times one, even load", "skewed", "move at a loss", "placed in ms", "state KB")
    print_table("Collections over members", ("collections", *columns), rows)
    if plot:
        save_lines(
            plot,
            title="Members work together at so many times the rate of one",
            x_label="members",
            y_label="times one",
            lines=lines,
        )


def speed_up(owners: Mapping[str, NodeId], load: Mapping[str, float]) -> float:
    """Return how many times as fast as one member all are, while the busiest has work."""
    by_owner: dict[NodeId, float] = {}
    for name, owner in owners.items():
        by_owner[owner] = by_owner.get(owner, 0) + load[name]
    return sum(load.values()) / max(by_owner.values())


def _spread(names: Sequence[str], members: int) -> ClusterState:
    """Return the state once so many members have joined, and each has its share."""
    state = initial_state(1, first_epoch=1)
    for number in range(members):
        node = f"mnc-{number}"
        state = apply(state, Join(node=NodeId(node), name=node, incarnation="1"))
    return _placed(state, names, live=frozenset(state.members))


def _moved(state: ClusterState, names: Sequence[str]) -> int:
    """Return how many collections have another owner once a member is lost."""
    lost = min(state.members)
    after = _placed(state, names, live=frozenset(state.members) - {lost})
    return sum(share.owner != after.shares[name].owner for name, share in state.shares.items())


def _placed(state: ClusterState, names: Sequence[str], *, live: frozenset[NodeId]) -> ClusterState:
    command = place(state, collections=frozenset(names), live=live, policy=Spread())
    return state if command is None else apply(state, command)


def _skewed(names: Sequence[str], rng: random.Random) -> Mapping[str, float]:
    ranks = rng.sample(range(1, len(names) + 1), len(names))
    return {name: 1 / rank for name, rank in zip(names, ranks, strict=True)}


if __name__ == "__main__":
    main()
