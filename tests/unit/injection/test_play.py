"""A script is played on time, and shown."""

from __future__ import annotations

import pytest
from tests.injection.faults import Fault, Freeze, Heal, Hold, Thaw
from tests.injection.play import play
from tests.injection.script import FaultScript, Step

SCRIPT = FaultScript(
    seed=3,
    steps=(
        Step(at_s=1.0, target="link", fault=Hold()),
        Step(at_s=1.5, target="link", fault=Heal()),
        Step(at_s=4.0, target="nats", fault=Freeze()),
        Step(at_s=5.0, target="nats", fault=Thaw()),
    ),
)


class Recorder:
    """Time that passes when it is waited for, and targets that take a while themselves."""

    def __init__(self) -> None:
        self.now_s = 100.0
        self.injected: list[tuple[float, str, Fault]] = []

    def clock(self) -> float:
        """Return the time."""
        return self.now_s

    def wait(self, seconds: float) -> None:
        """Let time pass."""
        self.now_s += seconds

    def target(self, name: str, *, takes_s: float) -> RecordingTarget:
        """Return a target whose faults take `takes_s` seconds to inject."""
        return RecordingTarget(self, name, takes_s)


class RecordingTarget:
    """Notes what happens to it."""

    def __init__(self, recorder: Recorder, name: str, takes_s: float) -> None:
        self._recorder = recorder
        self._name = name
        self._takes_s = takes_s

    def inject(self, fault: Fault, /) -> None:
        """Note a fault and its time."""
        self._recorder.injected.append((self._recorder.now_s - 100, self._name, fault))
        self._recorder.now_s += self._takes_s


def test_faults_happen_on_time_and_in_their_places(capsys: pytest.CaptureFixture[str]) -> None:
    """A late step delays no later one more than it must, and the script is in the output."""
    recorder = Recorder()
    targets = {
        "link": recorder.target("link", takes_s=0),
        "nats": recorder.target("nats", takes_s=1.25),
    }
    play(SCRIPT, targets, wait=recorder.wait, clock=recorder.clock)
    assert recorder.injected == [
        (1.0, "link", Hold()),
        (1.5, "link", Heal()),
        (4.0, "nats", Freeze()),
        (5.25, "nats", Thaw()),
    ]
    assert str(SCRIPT) in capsys.readouterr().out


def test_what_goes_wrong_meanwhile_ends_the_play() -> None:
    """Whoever waits may find that a process has ended, and no further fault happens then."""
    recorder = Recorder()

    def wait(seconds: float) -> None:
        recorder.wait(seconds)
        assert recorder.now_s < 102, "it ended"

    with pytest.raises(AssertionError, match="it ended"):
        play(
            SCRIPT,
            {"link": recorder.target("link", takes_s=0)},
            wait=wait,
            clock=recorder.clock,
        )
    assert [fault for _, _, fault in recorder.injected] == [Hold(), Heal()]
