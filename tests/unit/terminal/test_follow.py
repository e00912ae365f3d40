"""Following a stream goes on through outages, and says so when they last."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import trio
from trio.testing import MockClock

from mnc.errors import MncError, SinkError, SinkUnavailableError, StreamMissingError
from mnc.model import StreamSeq
from mnc.terminal.event import ShownEvent
from mnc.terminal.follow import follow
from mnc.terminal.ports import StreamMessage


class FakeSource:
    """A stream that plays a script: errors to raise, and batches; then nothing, for ever."""

    def __init__(self, script: Sequence[SinkError | list[int]]) -> None:
        self._script = list(script)

    async def next_batch(self) -> Sequence[StreamMessage]:
        """Play the next line of the script."""
        if not self._script:
            await trio.sleep(1)
            return []
        await trio.lowlevel.checkpoint()
        line = self._script.pop(0)
        if isinstance(line, SinkError):
            raise line
        return [
            StreamMessage(
                subject=f"cs.users.insert.{number}",
                stream_seq=StreamSeq(number),
                stored_at_s=0,
                headers={},
                payload=b"",
            )
            for number in line
        ]


class Watcher:
    """Notes what it is given; wants no more after a number of events."""

    def __init__(self, wanted: int) -> None:
        self.sequences: list[int] = []
        self.notices: list[str] = []
        self.took_s = 0.0
        self._wanted = wanted

    async def show(self, events: Sequence[ShownEvent]) -> bool:
        """Note events."""
        await trio.lowlevel.checkpoint()
        self.sequences += [event.stream_seq for event in events]
        return len(self.sequences) < self._wanted

    async def notice(self, sentence: str) -> None:
        """Note a sentence."""
        await trio.lowlevel.checkpoint()
        self.notices.append(sentence)


async def watch(
    clock: MockClock, script: Sequence[SinkError | list[int]], *, wanted: int
) -> Watcher:
    """Follow a script until there are `wanted` events."""
    watcher = Watcher(wanted)
    began = clock.current_time()
    with trio.fail_after(1000):
        await follow(FakeSource(script), show=watcher.show, notice=watcher.notice)
    watcher.took_s = clock.current_time() - began
    return watcher


async def test_events_are_shown_until_enough(autojump_clock: MockClock) -> None:
    """Batches are handed on in order, and following ends when no more are wanted."""
    watcher = await watch(autojump_clock, [[1, 2], [], [3], [4]], wanted=3)
    assert watcher.sequences == [1, 2, 3]
    assert watcher.notices == []


async def test_short_trouble_is_not_told(autojump_clock: MockClock) -> None:
    """A broker that is back within two seconds is not worth a word."""
    watcher = await watch(autojump_clock, [*[SinkUnavailableError("down")] * 10, [1]], wanted=1)
    assert watcher.took_s == pytest.approx(1)
    assert watcher.notices == []


async def test_lasting_trouble_is_told_once_for_each_reason(autojump_clock: MockClock) -> None:
    """A user who waits learns why, and not ten times a second."""
    script: list[SinkError | list[int]] = [
        *[SinkUnavailableError("down")] * 60,
        *[StreamMissingError("no stream")] * 60,
        [1],
        *[SinkUnavailableError("down")] * 60,
        [2],
    ]
    watcher = await watch(autojump_clock, script, wanted=2)
    assert [("down" in notice, "no stream" in notice) for notice in watcher.notices] == [
        (True, False),
        (False, True),
        (True, False),
    ]


async def test_other_errors_are_not_waited_out(autojump_clock: MockClock) -> None:
    """What the view raises ends the following."""
    began = autojump_clock.current_time()

    async def fail(_: Sequence[ShownEvent]) -> bool:
        await trio.lowlevel.checkpoint()
        raise MncError("broken")

    with pytest.raises(MncError, match="broken"):
        await follow(FakeSource([[1]]), show=fail, notice=Watcher(1).notice)
    assert autojump_clock.current_time() == began


async def test_following_can_be_cancelled(autojump_clock: MockClock) -> None:
    """Cancellation ends the following while it waits for events and while it waits out trouble."""
    for script in ([], [SinkUnavailableError("down")] * 10_000):
        watcher = Watcher(1)
        began = autojump_clock.current_time()
        with trio.move_on_after(30) as scope:
            await follow(FakeSource(script), show=watcher.show, notice=watcher.notice)
        assert scope.cancelled_caught
        assert autojump_clock.current_time() == pytest.approx(began + 30)
