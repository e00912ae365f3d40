"""Writing never blocks the event loop, and a reader that is gone is noticed."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
import trio

from mnc.terminal.output import Output

Pipe = tuple[int, int]


@pytest.fixture
def pipe() -> Iterator[Pipe]:
    """Open a pipe; its ends are closed if a test has not done it."""
    reader, writer = os.pipe()
    yield reader, writer
    for end in (reader, writer):
        try:
            os.close(end)
        except OSError:
            continue


async def test_text_arrives_in_the_encoding_of_the_output(pipe: Pipe) -> None:
    """What the encoding can't express becomes a question mark instead of an error."""
    reader, writer = pipe
    await Output(writer, encoding="ascii").write("Zoë\n")
    assert os.read(reader, 100) == b"Zo?\n"


async def test_stalled_reader_stalls_only_the_writer(pipe: Pipe) -> None:
    """A write into a full pipe can be cancelled, and other tasks run meanwhile."""
    reader, writer = pipe
    text = "x" * 1_000_000
    with trio.fail_after(10):
        with trio.move_on_after(0.1) as scope:
            await Output(writer).write(text)
        assert scope.cancelled_caught
    os.close(reader)  # lets the thread that was left end


async def test_large_text_arrives_whole(pipe: Pipe) -> None:
    """A text that the pipe takes in pieces arrives in order and complete."""
    reader, writer = pipe
    text = "".join(f"{number}\n" for number in range(50_000))
    received = b""
    with trio.fail_after(10):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(Output(writer).write, text)
            while len(received) < len(text):
                received += await trio.to_thread.run_sync(os.read, reader, 65536)
    assert received.decode() == text


async def test_reader_that_is_gone_is_noticed_without_writing(pipe: Pipe) -> None:
    """A pipe without a reader is an error at the next look, one with a reader is not."""
    reader, writer = pipe
    output = Output(writer)
    output.check_reader()
    os.close(reader)
    with pytest.raises(BrokenPipeError):
        output.check_reader()
    with pytest.raises(BrokenPipeError):
        await output.write("x")
