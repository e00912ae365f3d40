"""A proxy in a thread of its own, for tests that have no event loop."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from anyio.from_thread import BlockingPortal, start_blocking_portal
from tests.injection.faults import Fault
from tests.injection.proxy import Proxy, ProxyStatistics

__all__ = ["ThreadedProxy", "threaded"]


class ThreadedProxy:
    """A proxy that runs in a thread of its own, for any other thread to use; made by `threaded`."""

    def __init__(self, proxy: Proxy, portal: BlockingPortal) -> None:
        self._proxy = proxy
        self._portal = portal
        self.port: Final = proxy.port

    def inject(self, fault: Fault, /) -> None:
        """Let `fault` happen; see `Target.inject`."""
        self._portal.call(self._proxy.inject, fault)

    def statistics(self) -> ProxyStatistics:
        """Return what was done so far."""
        return self._portal.call(self._proxy.statistics)


@contextmanager
def threaded(server_port: int, *, seed: int = 0) -> Iterator[ThreadedProxy]:
    """Run a proxy to `server_port` in a thread of its own; its connections are reset at the end."""
    proxy = Proxy(server_port, seed=seed)
    with start_blocking_portal("trio") as portal:
        task, _ = portal.start_task(proxy.run)
        try:
            yield ThreadedProxy(proxy, portal)
        finally:
            if not task.cancel():
                task.result()  # it ended before, by an error
