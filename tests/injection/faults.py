"""What can go wrong with a network link and with a process, as values. Pure.

A fault is injected into a target (`mnc`'s link to a server, or a server) and lasts until another
ends it. Its `repr` is what reports show, and can be pasted into a test.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Protocol

__all__ = [
    "BOTH_WAYS",
    "ONE_WAY",
    "Cut",
    "Delay",
    "Direction",
    "Fault",
    "Freeze",
    "Heal",
    "Hold",
    "Kill",
    "LinkFault",
    "ProcessFault",
    "Refuse",
    "Start",
    "Strand",
    "Swallow",
    "Target",
    "Thaw",
    "Throttle",
    "Trap",
]

Direction = Literal["to_server", "to_client"]
"""Which way bytes go: the client is who opened the connection."""

BOTH_WAYS: tuple[Direction, ...] = ("to_server", "to_client")

ONE_WAY: tuple[tuple[Direction, ...], ...] = (("to_server",), ("to_client",))


# --- faults of a link -------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Delay:
    """Bytes arrive `delay_s` late, give or take up to `jitter_s`, and in order."""

    delay_s: float
    jitter_s: float = 0.0
    directions: tuple[Direction, ...] = BOTH_WAYS


@dataclass(frozen=True, slots=True, kw_only=True)
class Throttle:
    """No more than `bytes_per_s` pass each way, over all connections; more than 0."""

    bytes_per_s: float
    directions: tuple[Direction, ...] = BOTH_WAYS


@dataclass(frozen=True, slots=True, kw_only=True)
class Hold:
    """Nothing passes and nothing is lost: what is sent, an end too, arrives after `Heal`.

    So looks a network that drops every packet, since TCP sends them again. A sender can go on until
    the buffers on the way are full.
    """

    directions: tuple[Direction, ...] = BOTH_WAYS


@dataclass(frozen=True, slots=True, kw_only=True)
class Swallow:
    """What is sent vanishes, and so does a connection's end.

    So looks a middlebox that acknowledges what it then forgets. TCP leaves no gaps, so `Heal` cuts
    the connections that have lost something.
    """

    directions: tuple[Direction, ...] = BOTH_WAYS


@dataclass(frozen=True, slots=True, kw_only=True)
class Strand:
    """The connections that are open now are held both ways until `Heal`; new ones pass.

    So it looks when a server's machine loses its power and another one takes its address.
    """


@dataclass(frozen=True, slots=True, kw_only=True)
class Cut:
    """All connections end, now or when `after_bytes` more have passed in `direction`.

    None is now. Otherwise the byte after those is never delivered, it cuts instead: with 0 that is
    the next one. Only one cut is pending in a direction. New connections are accepted.
    """

    after_bytes: int | None = None
    direction: Direction = "to_server"
    reset: bool = True
    """Both ends see a reset; otherwise an orderly end, as of a peer that closes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Trap:
    """A `Hold` of `direction` that begins when `pattern` comes, on whichever connection.

    What comes before the pattern passes, and of the pattern no more than a beginning that had come
    by itself. Of two bytes at least; only one trap is set in a direction.
    """

    pattern: bytes
    direction: Direction = "to_server"


@dataclass(frozen=True, slots=True, kw_only=True)
class Refuse:
    """New connections are refused; those that exist go on."""

    cut: bool = False
    """Those that exist end too, as when the server has ended."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Heal:
    """Nothing more is done to these directions, and connections are accepted again.

    What a delay holds still arrives late: bytes keep their order.
    """

    directions: tuple[Direction, ...] = BOTH_WAYS


LinkFault = Delay | Throttle | Hold | Swallow | Strand | Cut | Trap | Refuse | Heal

# --- faults of a process ----------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Kill:
    """The process ends at once, as in a crash."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Start:
    """A process that was killed is there again, on its data and its port."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Freeze:
    """The process stands still; its connections stay open."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Thaw:
    """A frozen process goes on where it was."""


ProcessFault = Kill | Start | Freeze | Thaw

Fault = LinkFault | ProcessFault


class Target(Protocol):
    """What faults are injected into."""

    def inject(self, fault: Fault, /) -> None:
        """Let `fault` happen; on return it is in effect.

        Raises TypeError for a fault that can't happen to this target.
        """
        ...
