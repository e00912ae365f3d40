"""The connection's security is set in one way, checked at the start, and never shown."""

from __future__ import annotations

import traceback
from itertools import combinations
from pathlib import Path

import nkeys
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.credentials import Operator, UserKey

from mnc.config import Settings, load_settings, mask_credentials, near_misses
from mnc.config.nkeys import check_user_seed, split_creds
from mnc.config.uris import split_nats_login
from mnc.errors import ConfigError

_REQUIRED = {"MONGO_URI": "mongodb://h/shop", "MONGO_WATCH_COLLECTIONS": "users"}
_SEED = UserKey().seed

_LOGINS = {
    "NATS_CREDS_FILE": {"NATS_CREDS_FILE": "/etc/nats/user.creds"},
    "NATS_NKEY_SEED": {"NATS_NKEY_SEED": _SEED},
    "NATS_USER": {"NATS_USER": "mnc", "NATS_PASSWORD": "hunter2"},
    "NATS_TOKEN": {"NATS_TOKEN": "hunter2"},
    "NATS_SERVER_URL": {"NATS_SERVER_URL": "nats://mnc:hunter2@h"},
}


def _load(**variables: str) -> Settings:
    return load_settings(_REQUIRED | variables)


def _problem(**variables: str) -> str:
    with pytest.raises(ConfigError) as caught:
        _load(**variables)
    assert caught.value.__context__ is None
    return str(caught.value)


def test_nothing_is_set_by_default() -> None:
    """Without a setting there is no login, and TLS is what the server asks for."""
    settings = _load()
    assert settings.nats_login is None
    assert settings.nats_tls_ca_file is settings.nats_tls_cert_file is None
    assert settings.nats_tls_handshake_first is False


@pytest.mark.parametrize("name", [name for name in _LOGINS if name != "NATS_SERVER_URL"])
def test_the_login_is_known_by_its_setting(name: str) -> None:
    """Each way to log in is accepted alone, and known by the name of its setting."""
    assert _load(**_LOGINS[name]).nats_login == name


def test_tls_is_read() -> None:
    """Files, a name and the order of the handshake are read from their variables."""
    settings = _load(
        NATS_TLS_CA_FILE="ca.pem",
        NATS_TLS_CERT_FILE="cert.pem",
        NATS_TLS_KEY_FILE="key.pem",
        NATS_TLS_HOSTNAME="nats.test",
        NATS_TLS_HANDSHAKE_FIRST="true",
    )
    assert settings.nats_tls_ca_file == "ca.pem"
    assert (settings.nats_tls_cert_file, settings.nats_tls_key_file) == ("cert.pem", "key.pem")
    assert settings.nats_tls_hostname == "nats.test"
    assert settings.nats_tls_handshake_first is True


@pytest.mark.parametrize(("one", "other"), list(combinations(_LOGINS, 2)))
def test_two_logins_are_refused(one: str, other: str) -> None:
    """With two ways to log in nobody can say which was meant; the error names both."""
    problem = _problem(**_LOGINS[one], **_LOGINS[other])
    assert one in problem
    assert other in problem
    assert "is set too" in problem


@pytest.mark.parametrize(
    ("given", "missing"),
    [
        ({"NATS_USER": "mnc"}, "NATS_PASSWORD"),
        ({"NATS_PASSWORD": "hunter2"}, "NATS_USER"),
        ({"NATS_TLS_CERT_FILE": "/cert.pem"}, "NATS_TLS_KEY_FILE"),
        ({"NATS_TLS_KEY_FILE": "/key.pem"}, "NATS_TLS_CERT_FILE"),
    ],
)
def test_half_of_a_pair_is_refused(given: dict[str, str], missing: str) -> None:
    """A user needs a password and a certificate its key; the error names both."""
    problem = _problem(**given)
    assert missing in problem
    assert next(iter(given)) in problem
    assert "hunter2" not in problem


@pytest.mark.parametrize(
    "seed",
    [
        "SU",
        _SEED.lower(),
        _SEED + "A",
        _SEED[:-1] + ("A" if _SEED[-1] != "A" else "Q"),
        _SEED[:20] + ("B" if _SEED[20] != "B" else "C") + _SEED[21:],
        UserKey(nkeys.PREFIX_BYTE_ACCOUNT).seed,
        UserKey().public,
    ],
    ids=["short", "lower", "long", "last", "middle", "account", "public"],
)
def test_what_is_no_users_seed_is_refused(seed: str) -> None:
    """A seed with a mistake in it, or of an account, is found at the start and not shown."""
    problem = _problem(NATS_NKEY_SEED=seed)
    assert problem.startswith("NATS_NKEY_SEED: ")
    assert seed not in problem or seed == "SU"


@given(st.binary(min_size=32, max_size=32))
def test_every_users_seed_is_accepted(raw: bytes) -> None:
    """Whatever key the nkeys library makes, its seed passes."""
    seed = nkeys.encode_seed(raw, nkeys.PREFIX_BYTE_USER).decode()
    assert check_user_seed(seed) == seed


def test_a_secret_is_read_again_from_its_file(tmp_path: Path) -> None:
    """What a file holds now counts, and a file that is gone is an error; a variable stays."""
    path = tmp_path / "password"
    path.write_text("one\n")
    settings = _load(NATS_USER="mnc", NATS_PASSWORD_FILE=str(path))
    assert settings.secret_now("nats_password") == "one"
    path.write_text("two\n")
    assert settings.secret_now("nats_password") == "two"
    path.unlink()
    with pytest.raises(ConfigError, match="NATS_PASSWORD_FILE: can't read the file"):
        settings.secret_now("nats_password")
    assert _load(NATS_TOKEN="a").secret_now("nats_token") == "a"  # noqa: S106 - a test's own
    assert _load().secret_now("nats_token") is None


@pytest.mark.parametrize(
    "variable", ["NATS_NKEY_SEED_FILE", "NATS_PASSWORD_FILE", "NATS_TOKEN_FILE"]
)
@pytest.mark.parametrize(
    "secret", [_SEED, "hunter2", f"x/\n{_SEED}"], ids=["seed", "password", "lines"]
)
def test_a_secret_in_place_of_its_file_is_not_shown(variable: str, secret: str) -> None:
    """A secret that was put where the name of its file belongs stands in no message."""
    problem = _problem(**{variable: secret})
    assert problem.startswith(f"{variable}: can't read the file that it names")
    assert secret not in problem


def test_the_settings_text_forms_show_no_secret() -> None:
    """Neither `str` nor `repr` nor a dump of the settings has a password, a token or a seed."""
    for login in _LOGINS.values():
        settings = _load(**login)
        shown = f"{settings} {settings!r} {settings.model_dump()} {settings.model_dump_json()}"
        assert "hunter2" not in shown
        assert _SEED not in shown


def test_a_seed_is_masked_in_any_text() -> None:
    """A seed that reaches a line of the log is hidden there, as a URI's password is."""
    masked = mask_credentials(f"-----BEGIN USER NKEY SEED-----\\n{_SEED}\\n------END")
    assert masked == "-----BEGIN USER NKEY SEED-----\\n***\\n------END"


def test_a_misspelt_setting_is_noticed() -> None:
    """The names of other NATS tools are close enough to be reported with ours."""
    assert near_misses({"NATS_CREDS": "x", "NATS_PASS": "x", "NATS_TLS_CA": "x"}) == {
        "NATS_CREDS": "NATS_CREDS_FILE",
        "NATS_PASS": "NATS_PASSWORD",
        "NATS_TLS_CA": "NATS_TLS_CA_FILE",
    }


_CREDS = Operator().creds()


@pytest.mark.parametrize(
    "text",
    [_CREDS, _CREDS.replace("\n", "\r\n"), f"\n# mine\n{_CREDS}\n"],
    ids=["plain", "windows", "comment"],
)
def test_a_creds_file_has_a_jwt_and_a_seed(text: str) -> None:
    """The two values are found between their headings, whatever stands around and at line ends."""
    jwt, seed = split_creds(text)
    assert jwt in _CREDS.splitlines()
    assert seed in _CREDS.splitlines()


@pytest.mark.parametrize(
    ("text", "lacks"),
    [
        ("", "NATS USER JWT"),
        ("/etc/nats/user.creds", "NATS USER JWT"),
        (_CREDS.replace("NATS USER JWT", "NATS ACCOUNT JWT"), "NATS USER JWT"),
        (_CREDS.replace(".", ""), "NATS USER JWT"),
        (_CREDS[: _CREDS.index("------END NATS")], "NATS USER JWT"),
        (_CREDS[: _CREDS.index("-----BEGIN USER")], "USER NKEY SEED"),
        (_CREDS.replace(split_creds(_CREDS)[1], UserKey().public), "USER NKEY SEED"),
    ],
    ids=["empty", "path", "account", "no JWT", "cut JWT", "cut seed", "public key"],
)
def test_what_is_no_creds_file_is_refused(text: str, lacks: str) -> None:
    """The error says which section is missing or wrong, and nothing of the file."""
    with pytest.raises(ValueError, match=lacks) as caught:
        split_creds(text)
    shown = "".join(traceback.format_exception(caught.value))
    assert split_creds(_CREDS)[1] not in shown


@pytest.mark.parametrize(
    ("servers", "bare", "login"),
    [
        (["nats://h:1", "tls://i"], ["nats://h:1", "tls://i"], None),
        (["nats://u:p@h"], ["nats://h"], ("u", "p")),
        (["nats://u:p%40%2F%25@h"], ["nats://h"], ("u", "p@/%")),
        (["nats://t%3Ak@h", "nats://i"], ["nats://h", "nats://i"], ("t:k", None)),
        (["nats://u:p@h", "nats://u:p@[::1]:2"], ["nats://h", "nats://[::1]:2"], ("u", "p")),
    ],
)
def test_credentials_are_taken_out_of_urls(
    servers: list[str], bare: list[str], login: tuple[str, str | None] | None
) -> None:
    """The URLs lose them, and they are decoded; one URL's count for all."""
    assert split_nats_login(servers) == (bare, login)


def test_urls_with_different_credentials_are_refused() -> None:
    """A connector logs in as one user, at whichever server of a cluster."""
    problem = _problem(NATS_SERVER_URL="nats://u:hunter2@h,nats://u:hunter3@i")
    assert problem.startswith("NATS_SERVER_URL: ")
    assert "different credentials" in problem
    assert "hunter" not in problem
