"""Ways of publishing, and what they don't promise."""

from __future__ import annotations

import pytest

from mnc.drivers.nats.mode import Mode, mode_without_batches

_S = 10**9


@pytest.mark.parametrize(
    ("replicas", "window_s", "mode"),
    [
        (1, 120, Mode.CHAINED),
        (1, 0.1, Mode.CHAINED),
        (3, 120, Mode.CHAINED),
        (3, 30, Mode.CHAINED),
        (3, 29, Mode.SEQUENTIAL),
        (3, 0.1, Mode.SEQUENTIAL),
    ],
)
def test_a_replicated_stream_with_a_narrow_window_gets_no_chains(
    replicas: int, window_s: float, mode: Mode
) -> None:
    """Replicas that forget message ids soon could disagree on the last one, and stand still."""
    config = {"num_replicas": replicas, "duplicate_window": round(window_s * _S)}
    assert mode_without_batches(config) is mode


def test_weaker_modes_say_what_they_do_not_promise() -> None:
    """Only atomic batches promise everything."""
    assert not Mode.ATOMIC.not_promised
    assert Mode.CHAINED.not_promised
    assert Mode.SEQUENTIAL.not_promised
