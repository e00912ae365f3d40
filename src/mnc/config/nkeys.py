"""The forms of NATS's key-based logins: nkey seeds, and the .creds files that hold one.

An nkey seed is base32 of a two-byte prefix (what it is, and whose), the 32 bytes of an Ed25519
seed, and a CRC-16 of all of it, as NATS's ADR-14 has it. No error raised here repeats any part of
one.
"""

from __future__ import annotations

import base64
import binascii
import re

__all__ = ["check_user_seed", "split_creds"]

_SEED = re.compile(r"SU[A-Z2-7]{56}")
"""The first ten bits say "seed of a user"."""

_CRC_BYTES = 2

_SECTION = r"-{3,}\s*BEGIN %s\s*-{3,}\s+(\S+)\s+-{3,}\s*END %s\s*-{3,}"
_JWT = re.compile(_SECTION % (("NATS USER JWT",) * 2))
_CREDS_SEED = re.compile(_SECTION % (("USER NKEY SEED",) * 2))
_JWT_PARTS = 3


def check_user_seed(text: str) -> str:
    """Return a user's nkey seed if it is one; raise ValueError if not."""
    if not _SEED.fullmatch(text):
        raise ValueError("it is not SU and 56 more of A to Z and 2 to 7, as a user's seed is")
    raw = base64.b32decode(text + "=" * (-len(text) % 8))
    content, checksum = raw[:-_CRC_BYTES], raw[-_CRC_BYTES:]
    if binascii.crc_hqx(content, 0) != int.from_bytes(checksum, "little"):
        raise ValueError("its checksum is wrong: it was not copied as it was")
    return text


def split_creds(text: str) -> tuple[str, str]:
    """Return the user JWT and the nkey seed of a .creds file; raise ValueError if it is none."""
    jwt, seed = _JWT.search(text), _CREDS_SEED.search(text)
    if jwt is None or len(jwt[1].split(".")) != _JWT_PARTS:
        raise ValueError("it has no section with a NATS USER JWT")
    if seed is None:
        raise ValueError("it has no section with a USER NKEY SEED")
    try:
        return jwt[1], check_user_seed(seed[1])
    except ValueError as error:
        problem = f"its USER NKEY SEED is wrong: {error}"
    raise ValueError(problem)
