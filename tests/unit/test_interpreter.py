"""The interpreter's set-up: an event loop doesn't wait long for a thread that works."""

from __future__ import annotations

import gc
import subprocess
import sys
import weakref

from mnc.interpreter import hidden_from_collector

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
    """Part of a cycle."""

    other: object = None


def test_what_is_hidden_is_not_looked_through_and_the_rest_is_collected() -> None:
    """The collector sees nothing of what is made meanwhile, and goes on with what is made later."""
    with hidden_from_collector():
        hidden: list[dict[str, int]] = [{} for _ in range(10)]
    link = _Link()
    link.other = link
    gone = weakref.ref(link)
    del link
    gc.collect()
    seen = {id(found) for found in gc.get_objects()}
    assert seen.isdisjoint(map(id, hidden))
    assert gone() is None


def test_what_was_hidden_is_collected_later() -> None:
    """A cycle that ends while it is hidden is collected when the next objects are made."""
    link = _Link()
    link.other = link
    gone = weakref.ref(link)
    with hidden_from_collector():
        pass
    del link
    gc.collect()
    assert gone() is not None
    with hidden_from_collector():
        pass
    assert gone() is None
