"""The settings become nats-py's options, and what files hold is checked before it is used."""

from __future__ import annotations

import ssl
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from pydantic import SecretStr
from tests.credentials import Authority, Certificates, Operator

from mnc.config import NatsSecurity
from mnc.drivers.nats.security import connect_options, demands_tls, login_in_use
from mnc.drivers.nats.session import NatsSession
from mnc.errors import ConfigError

_SERVERS = ["nats://h"]


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    """Make an authority for the test."""
    return Authority(tmp_path / "authority")


def _with_certificate(paths: Certificates) -> NatsSecurity:
    return NatsSecurity(nats_tls_cert_file=str(paths.cert), nats_tls_key_file=str(paths.key))


def _error(security: NatsSecurity) -> ConfigError:
    with pytest.raises(ConfigError) as caught:
        NatsSession(_SERVERS, name="test", security=security)
    return caught.value


def test_nothing_set_is_nothing_asked_for() -> None:
    """Without settings there are the servers, no login, and TLS is left to the server."""
    assert connect_options(_SERVERS, NatsSecurity()) == {"servers": _SERVERS}
    assert login_in_use(_SERVERS, NatsSecurity()) is None


def test_credentials_of_a_url_are_options_of_their_own() -> None:
    """The URL that nats-py gets, and might quote, has no credentials."""
    assert connect_options(["nats://u:p%40@h", "nats://i"], NatsSecurity()) == {
        "servers": ["nats://h", "nats://i"], "user": "u", "password": "p@",
    }  # fmt: skip
    assert connect_options(["nats://t@h"], NatsSecurity()) == {
        "servers": ["nats://h"],
        "token": "t",
    }
    assert login_in_use(["nats://t@h"], NatsSecurity()) == "the credentials in NATS_SERVER_URL"


@pytest.mark.parametrize(
    ("servers", "security", "demanded"),
    [
        (["nats://h"], NatsSecurity(), False),
        (["nats://h"], NatsSecurity(nats_user="u", nats_password=SecretStr("p")), False),
        (["nats://h", "tls://i"], NatsSecurity(), True),
        (["nats://h"], NatsSecurity(nats_tls_ca_file="x"), True),
        (["nats://h"], NatsSecurity(nats_tls_cert_file="x", nats_tls_key_file="x"), True),
        (["nats://h"], NatsSecurity(nats_tls_hostname="x"), True),
        (["nats://h"], NatsSecurity(nats_tls_handshake_first=True), True),
    ],
)
def test_any_sign_of_tls_demands_it(
    servers: list[str], security: NatsSecurity, demanded: bool
) -> None:
    """Who sets anything about TLS does not want a connection without it."""
    assert demands_tls(servers, security) is demanded


def test_a_good_certificate_is_taken(authority: Authority) -> None:
    """A certificate with its key, and the authority to trust, become one context."""
    paths = authority.issue("mnc@mnc.test")
    security = _with_certificate(paths).model_copy(update={"nats_tls_ca_file": str(authority.path)})
    context = connect_options(_SERVERS, security)["tls"]
    assert isinstance(context, ssl.SSLContext)
    assert context.verify_mode is ssl.CERT_REQUIRED
    assert len(context.get_ca_certs()) == 1


def test_without_an_authority_those_of_the_system_are_trusted() -> None:
    """A `tls://` URL alone verifies the server against the system's authorities."""
    context = connect_options(["tls://h"], NatsSecurity())["tls"]
    assert context.verify_mode is ssl.CERT_REQUIRED
    assert context.check_hostname


Spoil = Callable[[Certificates], object]


@pytest.mark.parametrize(
    ("spoil", "setting", "problem"),
    [
        (lambda paths: paths.cert.unlink(), "NATS_TLS_CERT_FILE", "can't read the file"),
        (lambda paths: paths.key.unlink(), "NATS_TLS_KEY_FILE", "can't read the file"),
        (lambda paths: paths.cert.write_text("x"), "NATS_TLS_CERT_FILE", "has no certificate"),
        (lambda paths: paths.key.write_text("x"), "NATS_TLS_KEY_FILE", "has no private key"),
        (lambda paths: paths.cert.write_bytes(b"\xff"), "NATS_TLS_CERT_FILE", "is not UTF-8"),
        (lambda paths: _encrypt(paths.key), "NATS_TLS_KEY_FILE", "is encrypted"),
        (lambda paths: _cut(paths.key), "NATS_TLS_KEY_FILE", "can't be used"),
    ],
)
def test_an_unusable_certificate_is_named(
    authority: Authority, spoil: Spoil, setting: str, problem: str
) -> None:
    """The error names the setting and the file, and has nothing of the key in it."""
    paths = authority.issue("mnc@mnc.test")
    secret = paths.key.read_text().splitlines()[1]
    spoil(paths)
    error = _error(_with_certificate(paths))
    assert error.setting == setting
    assert problem in str(error)
    assert "'/" in str(error)
    assert secret not in str(error)


def test_a_foreign_key_is_refused(authority: Authority) -> None:
    """A key that does not belong to the certificate is found at the start."""
    one, other = authority.issue("one@mnc.test"), authority.issue("other@mnc.test")
    error = _error(_with_certificate(Certificates(cert=one.cert, key=other.key)))
    assert error.setting == "NATS_TLS_KEY_FILE"
    assert "is not the key of the certificate" in str(error)


@pytest.mark.parametrize("content", ["", "-----BEGIN CERTIFICATE-----\nx\n"])
def test_an_unusable_authority_is_named(tmp_path: Path, content: str) -> None:
    """A file that holds no certificates is found at the start, and so is one that is missing."""
    path = tmp_path / "ca.pem"
    error = _error(NatsSecurity(nats_tls_ca_file=str(path)))
    assert "can't read the file" in str(error)
    path.write_text(content)
    error = _error(NatsSecurity(nats_tls_ca_file=str(path)))
    assert error.setting == "NATS_TLS_CA_FILE"
    assert "no certificates" in str(error)


def test_an_unusable_creds_file_is_named(tmp_path: Path) -> None:
    """A .creds file that lacks a section is found at the start, and nothing of it is shown."""
    path = tmp_path / "user.creds"
    creds = Operator().creds()
    path.write_text(creds.replace("USER NKEY SEED", "X"))
    error = _error(NatsSecurity(nats_creds_file=str(path)))
    assert error.setting == "NATS_CREDS_FILE"
    assert "USER NKEY SEED" in str(error)
    assert not {line for line in creds.splitlines() if len(line) > 40} & set(str(error).split())


def test_the_content_of_a_creds_file_in_place_of_its_path_is_not_shown() -> None:
    """Who sets the content and not the path gets an error without it."""
    creds = Operator().creds()
    error = _error(NatsSecurity(nats_creds_file=creds))
    assert str(error) == "NATS_CREDS_FILE: can't read the file that it names: File name too long"


def _encrypt(path: Path) -> None:
    key = serialization.load_pem_private_key(path.read_bytes(), password=None)
    path.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.BestAvailableEncryption(b"secret"),
        )
    )


def _cut(path: Path) -> None:
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join([*lines[:2], *lines[-1:]]))
