"""From the settings to what nats-py takes for logging in and for TLS.

nats-py would read the files by itself, each time that it connects; but a .creds file without its
sections holds its event loop for ever, a seed that is wrong ends its reconnecting, and a key that
is encrypted asks the terminal for a password. So files are read and checked here, for each client.
"""

from __future__ import annotations

import ssl
from collections.abc import Sequence
from typing import Any

from nats.aio.client import RawCredentials

from mnc.config import NatsSecurity
from mnc.config.files import read_text, shown_path
from mnc.config.nkeys import check_user_seed, split_creds
from mnc.config.uris import split_nats_login
from mnc.errors import ConfigError

__all__ = ["connect_options", "demands_tls", "login_in_use"]


def connect_options(servers: Sequence[str], security: NatsSecurity) -> dict[str, Any]:
    """Return nats-py's options for the servers, the login and TLS, with what files hold now.

    Raises ConfigError, with no secret in it, when a file can't be used.
    """
    bare, from_url = split_nats_login(servers)
    options: dict[str, Any] = {"servers": bare, **_login(security)}
    if from_url:
        # Not left to nats-py: it doesn't decode them, and has none for a server that it discovers.
        user, password = from_url
        options |= {"token": user} if password is None else {"user": user, "password": password}
    if demands_tls(servers, security):
        options |= {
            "tls": _tls_context(security),
            "tls_hostname": security.nats_tls_hostname,
            "tls_handshake_first": security.nats_tls_handshake_first,
        }
    return options


def demands_tls(servers: Sequence[str], security: NatsSecurity) -> bool:
    """Say whether a connection without TLS would not be what the settings ask for."""
    return any(server.startswith("tls://") for server in servers) or any(
        (
            security.nats_tls_ca_file,
            security.nats_tls_cert_file,
            security.nats_tls_hostname,
            security.nats_tls_handshake_first,
        )
    )


def login_in_use(servers: Sequence[str], security: NatsSecurity) -> str | None:
    """Return the setting whose login a server may refuse, or None when there is no login."""
    if security.nats_login:
        return security.nats_login
    if split_nats_login(servers)[1]:
        return "the credentials in NATS_SERVER_URL"
    return "NATS_TLS_CERT_FILE" if security.nats_tls_cert_file else None


def _login(security: NatsSecurity) -> dict[str, Any]:
    match security.nats_login:
        case "NATS_CREDS_FILE":
            return {"user_credentials": _credentials(str(security.nats_creds_file))}
        case "NATS_NKEY_SEED":
            return {"nkeys_seed_str": _seed(security)}
        case "NATS_USER":
            return {
                "user": security.nats_user,
                "password": security.secret_now("nats_password"),
            }
        case "NATS_TOKEN":
            return {"token": security.secret_now("nats_token")}
        case _:
            return {}


def _credentials(path: str) -> RawCredentials:
    text = read_text("NATS_CREDS_FILE", path)
    try:
        jwt, seed = split_creds(text)
    except ValueError as error:
        problem = f"{shown_path(path)} can't be used: {error}"
    else:
        # As nats-py reads it: each value is the whole line after its heading.
        return RawCredentials(f"BEGIN NATS USER JWT\n{jwt}\nBEGIN USER NKEY SEED\n{seed}\n")
    raise ConfigError("NATS_CREDS_FILE", problem)


def _seed(security: NatsSecurity) -> str:
    try:
        return check_user_seed(security.secret_now("nats_nkey_seed") or "")
    except ValueError as error:
        problem = f"the seed in its file is wrong: {error}"
    raise ConfigError("NATS_NKEY_SEED", problem)


def _tls_context(security: NatsSecurity) -> ssl.SSLContext:
    context = _trusting(security.nats_tls_ca_file)
    if security.nats_tls_cert_file and security.nats_tls_key_file:
        _present(context, security.nats_tls_cert_file, security.nats_tls_key_file)
    return context


def _trusting(ca_path: str | None) -> ssl.SSLContext:
    if ca_path is None:
        return ssl.create_default_context()
    read_text("NATS_TLS_CA_FILE", ca_path)  # says better than ssl what is wrong with the file
    try:
        return ssl.create_default_context(cafile=ca_path)
    except ssl.SSLError as error:
        problem = f"{shown_path(ca_path)} has no certificates in PEM form"
        raise ConfigError("NATS_TLS_CA_FILE", problem) from error


def _present(context: ssl.SSLContext, cert_path: str, key_path: str) -> None:
    """Let `context` present a client certificate."""
    if "-----BEGIN CERTIFICATE-----" not in read_text("NATS_TLS_CERT_FILE", cert_path):
        raise ConfigError(
            "NATS_TLS_CERT_FILE", f"{shown_path(cert_path)} has no certificate in PEM form"
        )
    key = read_text("NATS_TLS_KEY_FILE", key_path)
    if "PRIVATE KEY-----" not in key:
        problem = "has no private key in PEM form"
    elif "ENCRYPTED" in key:
        problem = "is encrypted, and mnc has no setting for its password"
    else:
        try:
            context.load_cert_chain(cert_path, key_path, password="")
        except ssl.SSLError as error:
            is_another = error.reason == "KEY_VALUES_MISMATCH"
            problem = (
                "is not the key of the certificate in NATS_TLS_CERT_FILE"
                if is_another
                else f"can't be used with NATS_TLS_CERT_FILE: {error.reason}"
            )
        else:
            return
    raise ConfigError("NATS_TLS_KEY_FILE", f"{shown_path(key_path)} {problem}")
