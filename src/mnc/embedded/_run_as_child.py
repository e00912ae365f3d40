"""Become another program that ends when the process that started this one ends.

Usage: `python -I -S _run_as_child.py PARENT_PID PROGRAM ARGUMENT...`

It stands between fork and exec instead of a `preexec_fn`, which may deadlock in a process with
threads. It keeps its process id and imports nothing of mnc, so it takes a few milliseconds.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1  # linux/prctl.h

if __name__ == "__main__":
    parent_pid, program = int(sys.argv[1]), sys.argv[2]
    if sys.platform == "linux":
        # SIGKILL and not SIGTERM: both servers keep what they confirmed, and a frozen one ends too.
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent_pid:  # it ended before the line above: no signal will come
            sys.exit(1)
    os.execv(program, sys.argv[2:])  # noqa: S606 - a shell is what this is instead of
