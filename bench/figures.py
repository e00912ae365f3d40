"""What benches make of what they measured: percentiles, medians, costs an event, and tables."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Protocol, TypeVar

__all__ = ["markdown_table", "median_round", "per_event_us", "percentile", "print_table"]


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


def print_table(title: str, columns: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Print rows under their columns, ready for a page of the documentation."""
    print(f"{title}:\n\n{markdown_table(columns, list(rows))}\n")


def markdown_table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a table of Markdown: the first column to the left, figures to the right."""
    widths = [max(len(row[place]) for row in (columns, *rows)) for place, _ in enumerate(columns)]

    def line(cells: Sequence[str]) -> str:
        (first, *others), (width, *other_widths) = cells, widths
        aligned = (cell.rjust(space) for cell, space in zip(others, other_widths, strict=True))
        return f"| {' | '.join((first.ljust(width), *aligned))} |"

    ruler = ["-" * widths[0], *(f"{'-' * (width - 1)}:" for width in widths[1:])]
    return "\n".join(map(line, (columns, ruler, *rows)))
