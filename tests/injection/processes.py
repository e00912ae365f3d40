"""Servers that are killed, frozen, and come back."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from typing import Generic, TypeVar

from tests.injection.faults import Fault, Freeze, Kill, Start, Thaw

from mnc.embedded.process import ServerProcess

__all__ = ["ServerTarget", "freeze", "thaw"]

S = TypeVar("S", bound=ServerProcess)


def freeze(server: ServerProcess) -> None:
    """Stop the process where it is; `kill` still ends it."""
    os.kill(server.pid, signal.SIGSTOP)


def thaw(server: ServerProcess) -> None:
    """Let a frozen process go on."""
    os.kill(server.pid, signal.SIGCONT)


class ServerTarget(Generic[S]):
    """A server that faults happen to, in the thread that starts servers.

    `start` gets the server that was killed and returns its successor, on the same data and port.
    """

    def __init__(self, server: S, *, start: Callable[[S], S]) -> None:
        self.server = server
        """The newest process."""
        self._start = start

    def inject(self, fault: Fault, /) -> None:
        """Let `fault` happen; see `Target.inject`."""
        match fault:
            case Kill():
                self.server.kill()
            case Start():
                self.server = self._start(self.server)
            case Freeze():
                freeze(self.server)
            case Thaw():
                thaw(self.server)
            case _:
                raise TypeError(f"{fault} can't happen to a process")
