"""The interpreter's set-up: an event loop doesn't wait long for a thread that works."""

from __future__ import annotations

import subprocess
import sys

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
