"""Runs a program whose writes to files have to wait until another process lets them go on.

Usage: _watched.py SOCKET PROGRAM [ARGUMENT...]

The kernel reports the system calls named here to whoever has the filter's listener (seccomp user
notification, seccomp_unotify(2)), which is sent to the Unix socket SOCKET. Nothing of the project
is imported: this is run by a bare interpreter, in place of the program.
"""

from __future__ import annotations

import ctypes
import os
import platform
import socket
import struct
import sys

# seccomp, and what stores: pwrite64, fsync, fdatasync. Sockets are written to with others.
_CALLS = {"x86_64": (317, (18, 74, 75)), "aarch64": (277, (68, 82, 83))}

_PR_SET_NO_NEW_PRIVS = 38
"""Without it only root may install a filter."""

_SET_MODE_FILTER = 1
_NEW_LISTENER = 1 << 3
_ALLOW = 0x7FFF0000
_NOTIFY = 0x7FC00000

_LOAD_NUMBER = (0x20, 0, 0, 0)
"""BPF: load the 32 bits at offset 0 of struct seccomp_data, the call's number."""
_IF_EQUAL = 0x15
_RETURN = 0x06


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("instructions", ctypes.c_char_p))


def _install_filter() -> int:
    """Report this process's calls from now on; return the listener."""
    seccomp, reported = _CALLS[platform.machine()]
    instructions = [
        _LOAD_NUMBER,
        *((_IF_EQUAL, len(reported) - index, 0, nr) for index, nr in enumerate(reported)),
        (_RETURN, 0, 0, _ALLOW),
        (_RETURN, 0, 0, _NOTIFY),
    ]
    code = b"".join(struct.pack("HBBI", *each) for each in instructions)
    program = _Program(len(instructions), code)
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "no_new_privs")
    listener: int = libc.syscall(seccomp, _SET_MODE_FILTER, _NEW_LISTENER, ctypes.byref(program))
    if listener < 0:
        raise OSError(ctypes.get_errno(), "seccomp")
    return listener


def main() -> None:
    """Become the program."""
    path, *command = sys.argv[1:]
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(path)
        listener = _install_filter()
        socket.send_fds(connection, [b"!"], [listener])
    os.close(listener)
    os.execv(command[0], command)  # noqa: S606 - a program of the tests


main()
