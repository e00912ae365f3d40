"""What a lane tells the world: whether it advances, why not, and how much it did."""

from __future__ import annotations

from dataclasses import replace

import pytest
import trio
from structlog.testing import capture_logs
from tests.fakes.values import NAMESPACE, checkpoint, event, events, token
from tests.fakes.virtual_time import virtual_time

from mnc.errors import (
    CheckpointUnavailableError,
    OutcomeUnknownError,
    PositionLostError,
    SinkUnavailableError,
    StreamFullError,
)
from mnc.model import EncodedEvent, Position, Snapshot, StreamSeq
from mnc.publish.ports import Batch
from mnc.telemetry.lane import (
    STALLED_AFTER_S,
    Capturing,
    LaneTelemetry,
    Restarting,
    Starting,
    Stopped,
)
from mnc.telemetry.metrics import Metrics


@pytest.fixture
def lane() -> LaneTelemetry:
    """Give a lane that has just been made."""
    return LaneTelemetry(NAMESPACE, Metrics())


def _batch(*batch: EncodedEvent) -> Batch:
    return Batch(
        events=batch,
        marker_subject="cs_position.users",
        position=Position(token=batch[-1].token),
        expected_seq=StreamSeq(0),
    )


# --- readiness -----------------------------------------------------------------------------------


@virtual_time
async def test_a_new_lane_is_starting(lane: LaneTelemetry) -> None:
    """Before it captures, a lane isn't ready."""
    assert lane.not_ready_because() == "test.users is starting"
    lane.enter(Starting())
    assert lane.not_ready_because() == "test.users is starting"


@virtual_time
async def test_a_lane_that_starts_again_says_what_ended_it(lane: LaneTelemetry) -> None:
    """While it looks for its place anew, the reason is still the failure and its remedy."""
    lane.enter(Starting(after=StreamFullError("stream cs is full", remedy="make room")))
    assert (
        lane.not_ready_because()
        == "test.users is starting again, after: stream cs is full; make room"
    )


@virtual_time
async def test_a_capturing_lane_is_ready(lane: LaneTelemetry) -> None:
    """A lane whose change stream is open and that publishes is ready."""
    lane.enter(Capturing())
    assert lane.not_ready_because() is None


@virtual_time
async def test_a_failed_lane_says_when_it_tries_again(lane: LaneTelemetry) -> None:
    """Between a failure and the next start the reason counts down and has the remedy."""
    error = StreamFullError("stream cs is full", remedy="make room")
    lane.enter(Restarting(error=error, retry_at=trio.current_time() + 20))
    await trio.sleep(5)
    assert (
        lane.not_ready_because()
        == "test.users failed, next try in 15.0 s: stream cs is full; make room"
    )
    await trio.sleep(60)
    assert (
        lane.not_ready_because()
        == "test.users failed, next try in 0.0 s: stream cs is full; make room"
    )


@virtual_time
async def test_a_stopped_lane_says_why(lane: LaneTelemetry) -> None:
    """A lane that is down for good says what a person has to do; after a shutdown just so."""
    lane.enter(Stopped(error=PositionLostError("rolled over", remedy="decide")))
    assert lane.not_ready_because() == "test.users is stopped: rolled over; decide"
    lane.enter(Stopped(error=None))
    assert lane.not_ready_because() == "test.users is stopped"


@virtual_time
async def test_publishing_in_trouble_is_not_ready_after_a_while(lane: LaneTelemetry) -> None:
    """Retries in place pass unnoticed for a moment, and count from the first of their row."""
    lane.enter(Capturing())
    lane.retrying(SinkUnavailableError("no connection"))
    await trio.sleep(STALLED_AFTER_S - 0.1)
    assert lane.not_ready_because() is None
    lane.retrying(OutcomeUnknownError("no answer"))
    await trio.sleep(2)
    assert lane.not_ready_because() == "test.users has not been able to publish for 7 s: no answer"


@pytest.mark.parametrize("heal", ["published", "recovered", "settled"])
@virtual_time
async def test_a_success_ends_the_trouble(lane: LaneTelemetry, heal: str) -> None:
    """An acknowledgement, a recovery and nothing left to store each make the lane ready again."""
    lane.enter(Capturing())
    lane.retrying(SinkUnavailableError("no connection"))
    await trio.sleep(60)
    assert lane.not_ready_because() is not None
    match heal:
        case "published":
            lane.published(_batch(event(1)), ack_s=0.1)
        case "recovered":
            lane.recovered([event(1)])
        case _:
            lane.settled()
    assert lane.not_ready_because() is None


@virtual_time
async def test_a_new_start_does_not_end_the_trouble(lane: LaneTelemetry) -> None:
    """A lane that failed to publish isn't ready until something is stored."""
    lane.enter(Capturing())
    error = SinkUnavailableError("no connection")
    lane.enter(Restarting(error=error, retry_at=trio.current_time()))
    lane.enter(Starting(after=error))
    lane.enter(Capturing())
    await trio.sleep(1)
    assert lane.not_ready_because() is not None
    lane.published(_batch(event(1)), ack_s=0.1)
    assert lane.not_ready_because() is None


@virtual_time
async def test_failing_checkpoints_leave_a_lane_ready(lane: LaneTelemetry) -> None:
    """A token document that can't be written is shown, but the collection advances."""
    lane.enter(Capturing())
    lane.checkpoint_failed(CheckpointUnavailableError("no primary"))
    assert lane.not_ready_because() is None
    assert lane.snapshot()["checkpoint_error"] == "no primary"
    lane.checkpointed(checkpoint(1, stream_seq=2))
    assert "checkpoint_error" not in lane.snapshot()


# --- log lines -----------------------------------------------------------------------------------


@virtual_time
async def test_a_failure_is_a_warning_once_for_each_reason(lane: LaneTelemetry) -> None:
    """A server that is away for a day doesn't fill the log; another reason, or a later time, does.

    Every failure counts, whether it is a warning or not.
    """
    away, full = SinkUnavailableError("away"), StreamFullError("full")
    retry_at = trio.current_time()
    with capture_logs() as lines:
        for error in (away, away, away, full, full, away):
            lane.enter(Restarting(error=error, retry_at=retry_at))
            lane.enter(Starting(after=error))
        lane.enter(Capturing())
        lane.enter(Restarting(error=away, retry_at=retry_at))
    failures = [line for line in lines if line["event"] == "lane.failed"]
    assert [line["error"] for line in failures if line["log_level"] == "warning"] == [
        "away",
        "full",
        "away",
        "away",
    ]
    assert len(failures) == 7


# --- counts --------------------------------------------------------------------------------------


@virtual_time
async def test_a_snapshot_counts_what_happened(lane: LaneTelemetry) -> None:
    """Captured, published and checkpointed events add up; recovered ones are published ones."""
    lane.enter(Capturing())
    lane.captured(6)
    lane.published(_batch(*events(1, 3)), ack_s=0.1)
    lane.checkpointed(checkpoint(3, stream_seq=4))
    lane.recovered(events(4, 5))
    snapshot = lane.snapshot()
    assert isinstance(snapshot.pop("lag_s"), float)
    assert snapshot == {
        "collection": "test.users",
        "state": "capturing",
        "reason": None,
        "events_captured": 6,
        "events_published": 5,
        "events_checkpointed": 3,
        "events_dead_lettered": 0,
    }
    lane.checkpointed(checkpoint(5, stream_seq=7))
    assert lane.snapshot()["events_checkpointed"] == 5


@virtual_time
async def test_idle_progress_counts_no_events(lane: LaneTelemetry) -> None:
    """A checkpoint that covers no new event adds nothing."""
    lane.published(_batch(*events(1, 3)), ack_s=0.1)
    lane.checkpointed(checkpoint(3, stream_seq=4))
    lane.checkpointed(checkpoint(9, stream_seq=4))
    assert lane.snapshot()["events_checkpointed"] == 3


@pytest.mark.parametrize(
    ("state", "shown"),
    [
        (Starting(), "starting"),
        (Capturing(), "capturing"),
        (Restarting(error=SinkUnavailableError("away"), retry_at=0.0), "restarting"),
        (Stopped(error=None), "stopped"),
    ],
)
@virtual_time
async def test_a_snapshot_names_the_state(
    lane: LaneTelemetry, state: Starting | Capturing | Restarting | Stopped, shown: str
) -> None:
    """The state is one lower-case word."""
    lane.enter(state)
    assert lane.snapshot()["state"] == shown
    assert lane.state == state


@virtual_time
async def test_a_snapshot_says_how_far_it_is(lane: LaneTelemetry) -> None:
    """Its beginning, its end, and where it is every ten seconds stand in the log, the rest not.

    The lane is ready meanwhile, and `/status` says how far it is.
    """
    snapshot = Snapshot(since=token(1))
    with capture_logs() as lines:
        lane.copying(snapshot, estimated=250)
        for second in range(25):
            await trio.sleep(1)
            lane.copied(replace(snapshot, documents=10 * second))
        assert lane.not_ready_because() is None
        assert lane.snapshot()["snapshot"] == {"documents": 240, "estimated": 250}
        lane.copy_completed(replace(snapshot, documents=251))
        lane.enter(Starting())
    assert "snapshot" not in lane.snapshot()
    assert [(line["event"], line["documents"]) for line in lines] == [
        ("snapshot.began", 0),
        ("snapshot.progressed", 90),
        ("snapshot.progressed", 190),
        ("snapshot.completed", 251),
    ]
