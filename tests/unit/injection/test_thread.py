"""A proxy in a thread serves tests that have no event loop."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import closing

import pytest
from tests.injection.faults import Cut, Heal, Refuse
from tests.injection.thread import threaded

HOST = "127.0.0.1"
TIMEOUT_S = 10


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    """Listen as a server."""
    with socket.create_server((HOST, 0)) as server:
        server.settimeout(TIMEOUT_S)
        yield server


def connect(port: int) -> closing[socket.socket]:
    """Connect with blocking sockets."""
    return closing(socket.create_connection((HOST, port), timeout=TIMEOUT_S))


def test_faults_are_in_effect_when_injected(listener: socket.socket) -> None:
    """A fault and a look at the counts need no waiting: they happen in order."""
    with threaded(listener.getsockname()[1]) as proxy:
        with connect(proxy.port) as client:
            client.sendall(b"hello")
            server, _ = listener.accept()
            with server:
                assert server.recv(10) == b"hello"
                statistics = proxy.statistics()
                assert (statistics.connections_open, statistics.bytes_to_server) == (1, 5)
                proxy.inject(Cut())
                assert proxy.statistics().connections_open == 0
                with pytest.raises(ConnectionResetError):
                    client.recv(1)
        proxy.inject(Refuse())
        with pytest.raises(ConnectionRefusedError):
            connect(proxy.port)
        proxy.inject(Heal())
        with connect(proxy.port):
            listener.accept()[0].close()


def test_nothing_is_left_behind(listener: socket.socket) -> None:
    """After the block connections are reset, the port is free and the thread is gone."""
    threads = threading.active_count()
    with threaded(listener.getsockname()[1]) as proxy:
        client = connect(proxy.port)
        server, _ = listener.accept()
    with client as stream, pytest.raises(ConnectionResetError):
        stream.recv(1)
    server.close()
    assert threading.active_count() == threads
    with socket.create_server((HOST, proxy.port)):
        pass


def test_failure_in_the_block_passes(listener: socket.socket) -> None:
    """A test that fails beside a proxy shows its own error."""
    with pytest.raises(ZeroDivisionError), threaded(listener.getsockname()[1]):
        _ = 1 / 0
