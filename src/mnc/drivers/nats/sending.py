"""Events as messages, written as the client's protocol has them. Pure.

nats-py takes several times as long to write a message: it looks at each header that it is given,
and at those of a batch again for every message. What is written here is what it would write.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice

from mnc.model import EncodedEvent

__all__ = ["headers_of", "turns", "written", "written_headers"]

_MESSAGES_A_TURN = 512
"""Messages that are sent before others have a turn: about half a millisecond of work, and ten times
as much on a busy machine."""


def headers_of(event: EncodedEvent, place: Mapping[str, str]) -> dict[str, str]:
    """Return the headers of an event: those of its `place` in a row, and its own."""
    return {**place, "Nats-Msg-Id": event.message_id, **dict(event.headers)}


def written_headers(headers: Iterable[tuple[str, str]]) -> str:
    """Return the lines of headers; names and values hold no line break."""
    return "".join(f"{name}: {value}\r\n" for name, value in headers)


def written(event: EncodedEvent, place: str) -> bytes:
    """Return the message of an event, with the headers `place` (as `written_headers`) and its own.

    Invariants: what `event` has as subject and headers is ASCII.
    """
    own = written_headers(event.headers) if event.headers else ""
    headers = f"NATS/1.0\r\n{place}Nats-Msg-Id: {event.message_id}\r\n{own}\r\n"
    payload = event.payload
    size = len(headers) + len(payload)
    command = f"HPUB {event.subject} {len(headers)} {size}\r\n{headers}"
    return b"%b%b\r\n" % (command.encode("ascii"), payload)


def turns(messages: Iterable[bytes]) -> Iterator[Sequence[bytes]]:
    """Yield messages as many at a time as may be sent before others have a turn."""
    remaining = iter(messages)
    while turn := tuple(islice(remaining, _MESSAGES_A_TURN)):
        yield turn
