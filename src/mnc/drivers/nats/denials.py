"""What a user may not do on a connection. Pure.

JetStream knows nothing of a message that the user may not publish: its answer doesn't come, or says
that a batch is incomplete. The server says what it denied on its own, to nobody in particular; it
is remembered here, so that who waits in vain can be told why.
"""

from __future__ import annotations

from collections.abc import Iterable

import nats.errors

from mnc.errors import SinkRefusedError

__all__ = ["Denials", "denied_place"]

_PREFIX = "nats: permissions violation for "
"""nats-py has turned what the server says to lower case, the subject in quotes too."""

_INBOX = "_inbox."
_ANSWERS = "_inbox.>"

_SHOWN_TOKENS = 3
"""What of a subject is shown: what follows may be a document's id."""


def denied_place(error: Exception) -> str | None:
    """Return where the user may not publish or subscribe, or None when `error` is another one."""
    said = str(error)
    if type(error) is not nats.errors.Error or not said.startswith(_PREFIX):
        return None
    subject = said.partition('"')[2].partition('"')[0]
    return _ANSWERS if subject.startswith(_INBOX) else _place(subject)


class Denials:
    """The places that the server has denied on a connection."""

    def __init__(self) -> None:
        self._places: dict[str, float] = {}

    @property
    def includes_answers(self) -> bool:
        """Whether the user may not receive answers, so that every request is in vain."""
        return _ANSWERS in self._places

    def last_at_s(self, subject: str) -> float | None:
        """Return when publishing or subscribing to `subject` was denied last, or None."""
        return self._places.get(_place(subject).lower())

    def add(self, place: str, *, now_s: float) -> bool:
        """Remember a denied place; say whether it is a new one."""
        is_new = place not in self._places
        self._places[place] = now_s
        return is_new

    def take(self, subjects: Iterable[str]) -> SinkRefusedError | None:
        """Return what explains that messages to `subjects` had no effect, or None.

        What was remembered of these subjects is forgotten: it may be permitted the next time.
        """
        if self.includes_answers:
            return _refusal("subscribing to _INBOX.>")
        shown = {place.lower(): place for place in map(_place, subjects)}
        denied = self._places.keys() & shown.keys()
        for place in denied:
            del self._places[place]
        return _refusal(f"publishing to {shown[min(denied)]}") if denied else None


def _place(subject: str) -> str:
    tokens = subject.split(".")
    if subject.upper().startswith(
        "$JS."
    ):  # the API's subjects: what follows is the stream and the consumer
        tokens = [".".join(tokens[:2]), *tokens[2:]]
    shown = tokens[:_SHOWN_TOKENS]
    return ".".join(shown if shown == tokens else [*shown, ">"])


def _refusal(what: str) -> SinkRefusedError:
    return SinkRefusedError(
        f"NATS denies {what}", remedy="permit it to the user that mnc logs in as"
    )
