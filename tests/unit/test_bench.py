"""What benches share, and that each has its help."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path

import click
import pytest
from bench.figures import markdown_table, median_round, per_event_us, percentile
from bench.openloop import Load
from bench.placement import speed_up
from click.testing import CliRunner

from mnc.raft import NodeId

_BENCH = Path(__file__).parents[2] / "bench"
_COMMANDS = sorted(
    path.stem for path in _BENCH.glob("*.py") if '__name__ == "__main__"' in path.read_text()
)


class _Round:
    def __init__(self, ratio: float) -> None:
        self.ratio = ratio


@pytest.mark.parametrize("name", _COMMANDS)
def test_a_bench_says_what_it_does(name: str) -> None:
    """Each bench can be imported and has `--help`, whatever else is installed."""
    main = import_module(f"bench.{name}").main
    assert isinstance(main, click.Command)
    answer = CliRunner().invoke(main, ["--help"])
    assert answer.exit_code == 0, answer.output
    assert main.help
    assert "--help" in answer.output


def test_a_percentile_is_a_value_that_was_measured() -> None:
    """The nearest rank: so many of the values are as small or smaller."""
    ordered = [float(value) for value in range(1, 1001)]
    assert [percentile(ordered, share) for share in (0, 0.5, 0.99, 0.999, 1)] == [
        1,
        500,
        990,
        999,
        1000,
    ]
    assert percentile([7.0], 0.999) == 7
    assert percentile([1.0, 2.0, 3.0], 0.5) == 2


def test_the_median_round_is_one_of_the_rounds() -> None:
    """Figures that stand side by side are of one run."""
    rounds = [_Round(0.3), _Round(0.1), _Round(0.2)]
    assert median_round(rounds) is rounds[2]


def test_costs_are_for_each_event() -> None:
    """A second of CPU for a million events is a microsecond for each."""
    assert per_event_us(1, 1_000_000) == pytest.approx(1)


@pytest.mark.parametrize(
    ("per_s", "per_call", "calls"), [(100, 1, 1200), (1000, 1, 12_000), (5000, 5, 12_000)]
)
def test_a_load_comes_at_even_distances(per_s: int, per_call: int, calls: int) -> None:
    """A load has its rate whatever the size of its calls, of which there are not too many."""
    load = Load(per_s=per_s, seconds=10, warm_up_s=2)
    assert (load.per_call, load.calls, load.documents) == (per_call, calls, per_s * 12)
    assert load.due_s(load.calls) == pytest.approx(12)


def test_latency_counts_from_the_moment_at_which_a_call_was_due() -> None:
    """Who is late to write doesn't shorten what it measures, and the warm-up isn't counted."""
    load = Load(per_s=2, seconds=1, warm_up_s=1, first=70)
    seen = [(70, 100.9), (71, 101.0), (72, 101.2), (73, 102.25)]
    assert load.latencies_s(seen, 100) == pytest.approx([0.2, 0.75])


def test_what_was_not_seen_is_an_error() -> None:
    """A latency that has no end isn't left out in silence."""
    load = Load(per_s=2, seconds=1, warm_up_s=0)
    with pytest.raises(ValueError, match="1 of 2"):
        load.latencies_s([(0, 100.1)], 100)


def test_a_table_can_be_put_on_a_page() -> None:
    """What a bench prints is Markdown, also where a row has more to say than its column."""
    assert markdown_table(["work", "s"], [("none", "0.1"), ("much more", "10.0")]) == (
        "| work      |    s |\n| --------- | ---: |\n| none      |  0.1 |\n| much more | 10.0 |"
    )


def test_the_busiest_member_decides_how_fast_all_are() -> None:
    """All are done when the member with the most work is."""
    owners = {name: NodeId(owner) for name, owner in (("a", "x"), ("b", "x"), ("c", "y"))}
    assert speed_up(owners, {"a": 1, "b": 1, "c": 2}) == pytest.approx(2)
    assert speed_up(owners, {"a": 2, "b": 1, "c": 1}) == pytest.approx(4 / 3)
