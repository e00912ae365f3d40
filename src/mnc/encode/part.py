"""A part of a subject: escaped text of bounded length.

Safe are ASCII letters, digits and `-_:@`; the rest is escaped as in a URL: `%` and two hexadecimal
digits for each byte of UTF-8. nats-server takes letters outside ASCII as they are, but some clients
garble or refuse such subjects (nats.java#1143, nats.net#1023), some letters look alike or can't be
seen, and with all of them escaped a bound in characters is a bound in bytes.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from typing import Final
from urllib.parse import unquote

__all__ = ["PART_LIMIT", "SAFE", "Digest", "bounded", "digest_of", "escape", "unescape"]

PART_LIMIT: Final = 200
"""Characters of a part; a longer one becomes a digest.

nats-server ends the connection at a control line of 4,096 bytes (its default), and it holds every
subject of a stream in memory.
"""

SAFE: Final = "A-Za-z0-9_:@-"
"""What stands for itself, as the inside of a regular expression's character class."""

_UNSAFE = re.compile(rf"[^{SAFE}]".encode())
_DIGEST = re.compile(r"h:[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class Digest:
    """What is left of a part that was longer than PART_LIMIT."""

    sha256: str
    """The SHA-256 of the whole part, in lower-case hexadecimal."""


def escape(text: str) -> str:
    """Return `text` with every unsafe byte of its UTF-8 escaped.

    Raises UnicodeEncodeError for a lone surrogate, which BSON can't hold.
    """
    return _UNSAFE.sub(lambda unsafe: b"%%%02X" % ord(unsafe[0]), text.encode()).decode()


def unescape(escaped: str) -> str:
    """Return the text that `escape` was given. Raises ValueError when it wasn't valid Unicode."""
    return unquote(escaped, errors="strict")


def bounded(part: str) -> str:
    """Return `part`, or `h:` and its SHA-256 when it is longer than PART_LIMIT."""
    if len(part) <= PART_LIMIT:
        return part
    return f"h:{hashlib.sha256(part.encode()).hexdigest()}"


def digest_of(part: str) -> Digest | None:
    """Return the digest that `bounded` made of a part, or None when it left the part as it was."""
    return Digest(part[2:]) if _DIGEST.fullmatch(part) else None
