"""What tests log in with: nkeys, JWTs of an operator's making, certificates."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import nkeys
import trustme

__all__ = ["Authority", "Certificates", "Operator", "UserKey"]

_UNLIMITED = -1
_CONNECTING = dict.fromkeys(["subs", "data", "payload", "conn", "leaf"], _UNLIMITED)
_SHARING = {"imports": _UNLIMITED, "exports": _UNLIMITED, "wildcards": True}
_STORING = dict.fromkeys(["mem_storage", "disk_storage", "streams", "consumer"], _UNLIMITED)


class UserKey:
    """An nkey, a user's unless another prefix is given."""

    def __init__(self, prefix: int = nkeys.PREFIX_BYTE_USER) -> None:
        seed = nkeys.encode_seed(os.urandom(32), prefix)
        self.seed: str = seed.decode()
        self._pair = nkeys.from_seed(bytearray(seed))
        self.public: str = self._pair.public_key.decode()

    def sign(self, data: bytes) -> bytes:
        """Return the signature of `data`."""
        signature: bytes = self._pair.sign(data)
        return signature


class Operator:
    """An operator with one account that may use JetStream, as `nsc` would set it up."""

    def __init__(self) -> None:
        self._key = UserKey(nkeys.PREFIX_BYTE_OPERATOR)
        self._account = UserKey(nkeys.PREFIX_BYTE_ACCOUNT)
        self._system = UserKey(nkeys.PREFIX_BYTE_ACCOUNT)

    def server_config(self) -> str:
        """Return what a server of this operator has in its configuration."""
        limits = {**_CONNECTING, **_SHARING}
        account = {"type": "account", "limits": {**limits, **_STORING}}
        system = {"type": "account", "limits": limits}
        return f"""
            operator: {_jwt(self._key, self._key, {"type": "operator"})}
            resolver: MEMORY
            system_account: {self._system.public}
            resolver_preload: {{
                {self._account.public}: {_jwt(self._key, self._account, account)}
                {self._system.public}: {_jwt(self._key, self._system, system)}
            }}
        """

    def creds(self, *, expires_at_s: float | None = None) -> str:
        """Return the content of a .creds file for a new user of the account."""
        user = UserKey()
        claims = {"type": "user", "subs": _UNLIMITED, "data": _UNLIMITED, "payload": _UNLIMITED}
        jwt = _jwt(self._account, user, claims, expires_at_s=expires_at_s)
        return (
            f"-----BEGIN NATS USER JWT-----\n{jwt}\n------END NATS USER JWT------\n\n"
            "************************* IMPORTANT *************************\n"
            f"-----BEGIN USER NKEY SEED-----\n{user.seed}\n------END USER NKEY SEED------\n"
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Certificates:
    """The paths of a certificate and its key."""

    cert: Path
    key: Path

    def in_one_file(self) -> Path:
        """Write both to one file, as MongoDB has it, and return its path."""
        path = self.cert.with_suffix(".both.pem")
        path.write_text(self.cert.read_text() + self.key.read_text())
        return path

    def server_config(self, ca: Path, *more: str) -> str:
        """Return the `tls` block of a nats-server that shows this certificate."""
        files = [f'cert_file: "{self.cert}"', f'key_file: "{self.key}"', f'ca_file: "{ca}"']
        return f"tls {{ {', '.join([*files, *more])} }}\n"


class Authority:
    """A certificate authority of a test's own."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir()
        self._folder = folder
        self._ca = trustme.CA()
        self.path = folder / "ca.pem"
        self._ca.cert_pem.write_to_path(self.path)

    def issue(self, name: str) -> Certificates:
        """Make a certificate for a host, an address or, with an @ in it, a client."""
        made = self._ca.issue_cert(name)
        paths = Certificates(cert=self._folder / f"{name}.pem", key=self._folder / f"{name}.key")
        made.cert_chain_pems[0].write_to_path(paths.cert)
        made.private_key_pem.write_to_path(paths.key)
        return paths


def _jwt(
    issuer: UserKey,
    subject: UserKey,
    claims: Mapping[str, object],
    *,
    expires_at_s: float | None = None,
) -> str:
    body: dict[str, object] = {
        "iat": int(time.time()),
        "iss": issuer.public,
        "sub": subject.public,
        "nats": {"version": 2, **claims},
    }
    if expires_at_s is not None:
        body["exp"] = int(expires_at_s)
    digest = hashlib.sha256(json.dumps(body).encode()).digest()
    body["jti"] = base64.b32encode(digest).rstrip(b"=").decode()
    signed = f"{_encoded({'typ': 'JWT', 'alg': 'ed25519-nkey'})}.{_encoded(body)}"
    return f"{signed}.{_base64url(issuer.sign(signed.encode()))}"


def _encoded(value: Mapping[str, object]) -> str:
    return _base64url(json.dumps(value).encode())


def _base64url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()
