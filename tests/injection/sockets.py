"""The sockets of a proxy: fixed buffers, a port that is kept, and ends without a wait."""

from __future__ import annotations

import socket
import struct

import trio

__all__ = ["HOST", "bind", "close", "fix_buffers"]

HOST = "127.0.0.1"

_BUFFER_BYTES = 128 * 1024
"""Fixed, since the kernel lets buffers grow to megabytes, which would hide a slow link."""

_RESET_ON_CLOSE = struct.pack("ii", 1, 0)


def bind(port: int) -> socket.socket:
    """Return a socket that shares its port with others made here, of which one may listen."""
    bound = socket.socket()
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    fix_buffers(bound)
    bound.bind((HOST, port))
    return bound


def fix_buffers(any_socket: socket.socket | trio.socket.SocketType) -> None:
    """Set the size of the kernel's buffers, for good."""
    for option in (socket.SO_RCVBUF, socket.SO_SNDBUF):
        any_socket.setsockopt(socket.SOL_SOCKET, option, _BUFFER_BYTES)


def close(stream: trio.SocketStream, *, reset: bool) -> None:
    """Close at once and, unlike `aclose`, without a checkpoint; harmless when closed already."""
    if reset and stream.socket.fileno() != -1:
        stream.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
    stream.socket.close()
