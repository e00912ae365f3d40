"""Play one schedule again and print what happens: `python -m tests.raft.simulate PROFILE SEED`."""

from __future__ import annotations

import click
from tests.raft.simulator import PROFILES, Simulation

__all__: list[str] = []


@click.command()
@click.argument("profile", type=click.Choice(sorted(PROFILES)))
@click.argument("seed", type=int)
def main(profile: str, seed: int) -> None:
    """Play the schedule of SEED with a trace."""
    Simulation(seed, PROFILES[profile], trace=click.echo).run()


if __name__ == "__main__":
    main()
