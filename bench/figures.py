"""What benches make of what they measured: percentiles, medians, costs an event, and tables."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Protocol, TypeVar

from rich.console import Console
from rich.table import Table

__all__ = ["median_round", "per_event_us", "percentile", "print_table"]

_WIDTH = 120
"""Of a table, also where the output is no terminal."""


class Measured(Protocol):
    """What one round measured."""

    @property
    def ratio(self) -> float:
        """What rounds are compared by."""
        ...


_Round = TypeVar("_Round", bound=Measured)


def percentile(ordered: Sequence[float], share: float) -> float:
    """Return the least value that `share` of all values (0 to 1) don't exceed: the nearest rank.

    `ordered` is sorted and not empty. 0 gives the least value and 1 the greatest.
    """
    rank = math.ceil(share * len(ordered))
    return ordered[max(rank, 1) - 1]


def median_round(rounds: Sequence[_Round]) -> _Round:
    """Return the round whose ratio is the median; of an even number, the upper one of the two."""
    return sorted(rounds, key=lambda each: each.ratio)[len(rounds) // 2]


def per_event_us(spent_s: float, events: int) -> float:
    """Return microseconds an event."""
    return spent_s / events * 1e6


def print_table(
    title: str, columns: Sequence[str], rows: Iterable[Sequence[str]], *, last: Sequence[str] = ()
) -> None:
    """Print rows under their columns, figures to the right, and `last` apart below them."""
    table = Table(title=title)
    for number, column in enumerate(columns):
        table.add_column(column, justify="right" if number else "left")
    for row in rows:
        table.add_row(*row)
    if last:
        table.add_section()
        table.add_row(*last)
    Console(width=_WIDTH).print(table)
