"""Lets a fault script happen."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

from tests.injection.faults import Target
from tests.injection.script import FaultScript

__all__ = ["play"]


def play(
    script: FaultScript,
    targets: Mapping[str, Target],
    *,
    wait: Callable[[float], object],
    clock: Callable[[], float] = time.monotonic,
) -> None:
    """Print the script, then inject each of its faults at its time into the target of its name.

    `wait` waits for so many seconds, and may watch meanwhile that all is well: a connector's
    `run_for` does. A step that is late makes no later one late.
    """
    print(script, flush=True)  # noqa: T201 - pytest shows it with a failure
    began_at = clock()
    for step in script.steps:
        wait(max(0.0, began_at + step.at_s - clock()))
        targets[step.target].inject(step.fault)
