"""Plots of what benches measured, as PNG; for those that ask for one, matplotlib is needed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from textwrap import fill
from typing import Any

import click

__all__ = ["plot_option", "save_bars", "save_lines"]

_SIZE_INCHES = (7.0, 4.0)
_DPI = 100
_GROUP_WIDTH = 0.8
_LABEL_WIDTH = 14

plot_option = click.option(
    "--plot",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Write a plot to this file, as PNG; needs matplotlib.",
)
"""The option of benches that have a plot."""

Line = Sequence[tuple[float, float]]


def save_bars(
    path: Path,
    *,
    title: str,
    y_label: str,
    groups: Sequence[str],
    bars: Mapping[str, Sequence[float]],
) -> None:
    """Save bars side by side in groups; each name in `bars` has one value for each group."""
    figure, axes = _figure(title)
    width = _GROUP_WIDTH / len(bars)
    for number, (name, values) in enumerate(bars.items()):
        offset = (number - (len(bars) - 1) / 2) * width
        places = [place + offset for place in range(len(groups))]
        drawn = axes.bar(places, values, width, label=name)
        axes.bar_label(drawn, fmt="{:,.3g}", fontsize=7)
    axes.set_xticks(range(len(groups)), [fill(name, _LABEL_WIDTH) for name in groups], fontsize=8)
    axes.set_ylabel(y_label)
    if len(bars) > 1:
        axes.legend(fontsize=8)
    figure.savefig(path)


def save_lines(
    path: Path,
    *,
    title: str,
    x_label: str,
    y_label: str,
    lines: Mapping[str, Line],
    logarithmic: str = "",
    ticks: Mapping[float, str] | None = None,
) -> None:
    """Save lines; `logarithmic` has the letters of the axes that are, `ticks` those of x."""
    figure, axes = _figure(title)
    for name, line in lines.items():
        axes.plot([x for x, _ in line], [y for _, y in line], label=name)
    if "x" in logarithmic:
        axes.set_xscale("log")
    if "y" in logarithmic:
        axes.set_yscale("log")
    else:
        axes.set_ylim(bottom=0)
    if ticks:
        axes.set_xticks(list(ticks), list(ticks.values()))
        axes.minorticks_off()
    axes.set_xlabel(x_label)
    axes.set_ylabel(y_label)
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8)
    figure.savefig(path)


def _figure(title: str) -> tuple[Any, Any]:
    # Imported when it is needed: benches run without it. A Figure of one's own needs no display.
    from matplotlib.figure import Figure  # noqa: PLC0415

    figure = Figure(figsize=_SIZE_INCHES, dpi=_DPI, layout="constrained")
    axes = figure.subplots()
    axes.set_title(title, fontsize=10)
    return figure, axes
