"""Play random schedules of the Raft simulator, and print how many a second.

    python -m bench.raft [--profile steady|changing|told|mistold] [--first 0] [--schedules 1000]

Each schedule is 20 virtual seconds of a group of nodes. Seconds are those of the processor, so that
other work on the machine counts for little.
"""

from __future__ import annotations

import time

import click
from tests.raft.simulator import PROFILES, simulate

__all__: list[str] = []


@click.command()
@click.option("--profile", type=click.Choice(sorted(PROFILES)), default="steady")
@click.option("--first", default=0, help="the first seed")
@click.option("--schedules", default=1000)
def main(profile: str, first: int, schedules: int) -> None:
    """Play SCHEDULES schedules, beginning with the seed FIRST; stop at one that fails."""
    began_s = time.process_time()
    for seed in range(first, first + schedules):
        simulate(seed, PROFILES[profile])
    print(f"{profile}: {schedules / (time.process_time() - began_s):.0f} schedules/s")


if __name__ == "__main__":
    main()
