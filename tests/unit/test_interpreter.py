"""The interpreter's set-up: an event loop doesn't wait long for a thread that works."""

from __future__ import annotations

import gc
import subprocess
import sys

from mnc.interpreter import CollectorRest

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


def test_the_collector_rests_as_long_as_anybody_wants() -> None:
    """It works again when the last rest has ended, whichever that is."""
    rests = [CollectorRest(), CollectorRest()]
    assert not gc.isenabled()
    rests.pop(0)
    assert not gc.isenabled()
    rests.pop()
    assert gc.isenabled()
