"""A fault script is a function of its seed, and leaves nothing broken."""

from __future__ import annotations

from tests.injection.faults import Cut, Freeze, Heal, Hold, Kill, Start, Thaw
from tests.injection.script import FaultKind, FaultScript, Step, generate

KINDS = (
    FaultKind(
        target="link",
        draw=lambda rng: Cut(after_bytes=rng.randrange(1000)),
        lasts_s=(0.5, 1.0),
        end=Heal(),
    ),
    FaultKind(target="link", draw=lambda _: Hold(), lasts_s=(2.0, 3.0), end=Heal()),
    FaultKind(target="nats", draw=lambda _: Freeze(), lasts_s=(1.0, 1.5), end=Thaw()),
    FaultKind(target="nats", draw=lambda _: Kill(), lasts_s=(0.0, 0.1), end=Start()),
)
LASTS_S = {Cut: (0.5, 1.0), Hold: (2.0, 3.0), Freeze: (1.0, 1.5), Kill: (0.0, 0.1)}
ENDS = {Cut: Heal(), Hold: Heal(), Freeze: Thaw(), Kill: Start()}


def test_seed_decides_all() -> None:
    """The seed in a report is enough to have a script again; another seed gives another one."""
    script = generate(KINDS, seed=7, faults=50)
    assert script == generate(KINDS, seed=7, faults=50)
    assert script.steps != generate(KINDS, seed=8, faults=50).steps


def test_every_fault_is_ended_before_the_next_begins() -> None:
    """Faults and their ends take turns in the same place, at the times that were asked for."""
    script = generate(KINDS, seed=1, faults=100, pause_s=(0.25, 0.5))
    assert len(script.steps) == 200
    previous_end_s = 0.0
    for begin, end in zip(script.steps[::2], script.steps[1::2], strict=True):
        shortest_s, longest_s = LASTS_S[type(begin.fault)]
        assert 0.25 <= begin.at_s - previous_end_s <= 0.5
        assert shortest_s <= round(end.at_s - begin.at_s, 6) <= longest_s
        assert end.fault == ENDS[type(begin.fault)]
        assert end.target == begin.target
        previous_end_s = end.at_s


def test_every_kind_comes_before_one_comes_again() -> None:
    """A short script has as many kinds as fit in, and a long one has each as often."""
    script = generate(KINDS, seed=1, faults=40)
    drawn = [type(step.fault) for step in script.steps[::2]]
    rounds = [drawn[index : index + 4] for index in range(0, 40, 4)]
    assert all(set(each) == set(LASTS_S) for each in rounds)
    assert len(set(map(tuple, rounds))) > 1


def test_script_prints_itself() -> None:
    """A report shows the seed and, a line each, when which fault happens to what."""
    script = FaultScript(
        seed=5,
        steps=(
            Step(at_s=0.25, target="link", fault=Cut(after_bytes=10, direction="to_client")),
            Step(at_s=12.5, target="nats", fault=Kill()),
        ),
    )
    assert str(script).splitlines() == [
        "fault script of seed 5",
        "   0.250 s  link: Cut(after_bytes=10, direction='to_client', reset=True)",
        "  12.500 s  nats: Kill()",
    ]
