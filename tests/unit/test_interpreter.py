"""The interpreter's set-up: an event loop doesn't wait long for a thread that works."""

from __future__ import annotations

import gc
import subprocess
import sys
import time
import weakref
from collections.abc import Sequence

import pytest

from mnc import interpreter
from mnc.interpreter import collect_seldom, hidden_from_collector

_TURNS = """
import sys, threading, time
from mnc.interpreter import hasten_threads

if sys.argv[1] == "hastened":
    hasten_threads()

ended = threading.Event()

def work():
    while not ended.is_set():
        sum(range(1000))

threading.Thread(target=work).start()
began = time.perf_counter()
for _ in range(200):
    time.sleep(0)  # lets go of the interpreter, as each system call of a loop does
print(time.perf_counter() - began)
ended.set()
"""


def test_a_working_thread_lets_the_loop_go_on() -> None:
    """Turns beside a thread that works are several times as quick as Python has them."""

    def seconds(how: str) -> float:
        command = [sys.executable, "-c", _TURNS, how]
        return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)

    assert seconds("hastened") < seconds("left alone") / 2


class _Link:
    """A cycle of one."""

    def __init__(self) -> None:
        self.other = self


def _many() -> Sequence[list[int]]:
    return [[] for _ in range(100_000)]  # the collector never looks at an empty dict


def _is_seen(found: object) -> bool:
    return any(seen is found for seen in gc.get_objects())


def test_many_objects_are_hidden_and_the_rest_is_collected() -> None:
    """The collector sees nothing of what is made meanwhile, and goes on with what is made later."""
    with hidden_from_collector():
        hidden = _many()
    gone = weakref.ref(_Link())
    gc.collect()
    assert gone() is None
    assert not _is_seen(hidden[0])


def test_few_objects_are_not_hidden() -> None:
    """Nothing is hidden, and nothing collected, for a large text."""
    gc.collect()
    with hidden_from_collector():
        few: list[list[int]] = [[]]
    assert _is_seen(few[0])


def test_what_was_hidden_is_collected_later(monkeypatch: pytest.MonkeyPatch) -> None:
    """A cycle that ends while it is hidden is collected by a call after a minute."""
    link = _Link()
    gone = weakref.ref(link)
    with hidden_from_collector():
        _kept = _many()
    del link
    gc.collect()
    assert gone() is not None
    monkeypatch.setattr(interpreter, "_collect_at", time.monotonic())
    with hidden_from_collector():
        pass
    assert gone() is None


def test_a_replys_objects_are_looked_through_once() -> None:
    """Nine thousand objects, as many as a reply makes, are looked through once at most."""
    thresholds = gc.get_threshold()
    collections = 0

    def count(phase: str, _: dict[str, int]) -> None:
        nonlocal collections
        collections += phase == "start"

    gc.callbacks.append(count)
    try:
        collect_seldom()
        made = [[number] for number in range(9_000)]
    finally:
        gc.callbacks.remove(count)
        gc.set_threshold(*thresholds)
    assert len(made) == 9_000
    assert collections <= 1
