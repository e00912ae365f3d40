"""A slow disk: a server's writes to files take as long as a test wants.

Theory of operation. The server is started by `_watched`, through which the kernel asks a thread
here before each of its writes and syncs. One at a time is let go on, each after `delay_s`, as by a
disk that does one thing at a time. No rights are needed, and no kernel module: Linux 5.5 or newer
on x86-64 or ARM.
"""

from __future__ import annotations

import fcntl
import os
import select
import shlex
import socket
import struct
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Final

__all__ = ["SlowDisk", "slow_disk"]

_WATCHED = Path(__file__).with_name("_watched.py")

_NOTIFICATION_BYTES = 80
"""struct seccomp_notif: an id of 64 bits comes first."""

_QUESTION = struct.Struct("Q8xi")
"""The beginning of it: id, process, flags, the call's number."""

_SYNCS = frozenset({74, 75, 82, 83})
"""The numbers of fsync and fdatasync: of x86-64, and of ARM, where the others aren't reported."""

_ANSWER = struct.Struct("QqiI")
"""struct seccomp_notif_resp: id, value, error, flags."""

_GO_ON = 1
"""SECCOMP_USER_NOTIF_FLAG_CONTINUE."""

_LOOK_MS = 100
"""How often the thread looks whether it has to end."""


def _ioctl_number(number: int, size: int) -> int:
    """Return the number of a request that reads and writes `size` bytes: `_IOWR('!', ...)`."""
    return 3 << 30 | size << 16 | ord("!") << 8 | number


_RECEIVE = _ioctl_number(0, _NOTIFICATION_BYTES)
_SEND = _ioctl_number(1, _ANSWER.size)


class SlowDisk:
    """The disk of the servers that are started by `program`; made by `slow_disk`.

    Invariants: `writes` counts what was let go on, `syncs` those of it that were syncs.
    """

    def __init__(self, folder: Path, program: Path) -> None:
        self.writes = 0
        self.syncs = 0
        self.program: Final = folder / program.name
        """Runs the program with this disk."""
        self._delay_s = 0.0
        self._changed = threading.Event()
        self._ended = False
        path = folder / "disk"
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.bind(str(path))
        self._socket.listen()
        command = shlex.join([sys.executable, "-I", "-S", str(_WATCHED), str(path), str(program)])
        self.program.write_text(f'#!/bin/sh\nexec {command} "$@"\n')
        self.program.chmod(0o700)

    def set_delay(self, delay_s: float) -> None:
        """Let each write take so long from now on, also the one that is waiting."""
        self._delay_s = delay_s
        self._changed.set()

    def end(self) -> None:
        """Let `serve` return, when the servers have ended."""
        self._ended = True
        self.set_delay(0)

    def serve(self) -> None:
        """Let writes go on, one after the other."""
        poll = select.poll()
        poll.register(self._socket, select.POLLIN)
        with self._socket, ExitStack() as listeners:
            while not self._ended:
                for fd, event in poll.poll(_LOOK_MS):
                    if fd == self._socket.fileno():
                        listener = self._accept()
                        listeners.callback(os.close, listener)
                        poll.register(listener, select.POLLIN)
                    elif event & select.POLLHUP:  # the server has ended
                        poll.unregister(fd)
                    else:
                        self._let_one(fd)

    def _accept(self) -> int:
        """Return the listener of a server that starts."""
        connection, _ = self._socket.accept()
        with connection:
            _, (listener,), _, _ = socket.recv_fds(connection, 1, 1)
        return listener

    def _let_one(self, listener: int) -> None:
        """Let one write go on when its time has come."""
        notification = bytearray(_NOTIFICATION_BYTES)
        with suppress(FileNotFoundError):  # the server was killed, or a signal repeats the call
            fcntl.ioctl(listener, _RECEIVE, notification)
            self._wait()
            number, call = _QUESTION.unpack_from(notification)
            fcntl.ioctl(listener, _SEND, _ANSWER.pack(number, 0, 0, _GO_ON))
            self.writes += 1
            self.syncs += call in _SYNCS

    def _wait(self) -> None:
        """Wait as long as a write takes, which may change meanwhile."""
        self._changed.clear()
        while self._changed.wait(self._delay_s):
            self._changed.clear()


@contextmanager
def slow_disk(folder: Path, program: Path) -> Iterator[SlowDisk]:
    """Make a disk for servers that run `program`; to be left when they have ended."""
    disk = SlowDisk(folder, program)
    thread = threading.Thread(target=disk.serve, name="slow disk")
    thread.start()
    try:
        yield disk
    finally:
        disk.end()
        thread.join()
