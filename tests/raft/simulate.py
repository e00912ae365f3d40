"""Play one schedule again, and print what happens.

python -m tests.raft.simulate SEED [--profile steady|changing|told|mistold]
"""

from __future__ import annotations

import click
from tests.raft.simulator import PROFILES, Simulation

__all__: list[str] = []


@click.command()
@click.argument("seed", type=int)
@click.option("--profile", type=click.Choice(sorted(PROFILES)), default="steady")
def main(seed: int, profile: str) -> None:
    """Play the schedule of SEED with a trace."""
    Simulation(seed, PROFILES[profile], trace=click.echo).run()


if __name__ == "__main__":
    main()
