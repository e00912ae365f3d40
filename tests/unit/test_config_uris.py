"""URIs are read as the client libraries read them, and shown without their credentials."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mnc.config import mask_credentials
from mnc.config.uris import mask_uri, mongo_database, mongo_options, nats_servers


@pytest.mark.parametrize(
    ("uri", "database"),
    [
        ("mongodb://h/shop", "shop"),
        ("mongodb://h:27017/shop?replicaSet=rs0", "shop"),
        ("mongodb://a:1,b:2,c/shop", "shop"),
        ("mongodb://user:p%40ss%2Fword@a,b/shop?authSource=admin", "shop"),
        ("mongodb://user@corp:pass@h/shop", "shop"),
        ("mongodb://[::1]:27017,127.0.0.1/shop", "shop"),
        ("mongodb://h/caf%C3%A9", "café"),
        ("mongodb+srv://user:pass@cluster.example.org/shop?w=majority", "shop"),
        ("mongodb://h/shop?x=/?@", "shop"),
    ],
)
def test_the_database_of_a_uri_is_found(uri: str, database: str) -> None:
    """The database is found with several hosts, escaped credentials, and options."""
    assert mongo_database(uri) == database


@pytest.mark.parametrize(
    ("uri", "options"),
    [
        ("mongodb://h/shop", set()),
        ("mongodb://h/shop?", set()),
        ("mongodb://h/shop?appName=a%26b&TLS=true;w=1", {"appname", "tls", "w"}),
        ("mongodb+srv://u:p@h/shop?x=/?@=", {"x"}),
    ],
)
def test_the_options_of_a_uri_are_named(uri: str, options: set[str]) -> None:
    """The names are found in any case, and their values don't matter."""
    assert mongo_options(uri) == options


@pytest.mark.parametrize(
    "uri",
    [
        "",
        "h/shop",
        "http://h/shop",
        "mongodb://",
        "mongodb:///shop",
        "mongodb://h",
        "mongodb://h/",
        "mongodb://h?x=y",
        "mongodb://a,,b/shop",
        "mongodb://h:0/shop",
        "mongodb://h:65536/shop",
        "mongodb://h:x/shop",
        "mongodb://[::1/shop",
        "mongodb://h/admin",
        "mongodb://h/a.b",
        "mongodb+srv://a,b/shop",
        "mongodb+srv://a:27017/shop",
    ],
)
def test_an_unusable_mongo_uri_is_refused(uri: str) -> None:
    """A URI without a scheme, hosts or a database that can be watched is refused."""
    with pytest.raises(ValueError, match=r"."):
        mongo_database(uri)


@pytest.mark.parametrize(
    ("urls", "servers"),
    [
        ("nats://h", ("nats://h",)),
        (" nats://h:4222 ,tls://u:p@i:4223,", ("nats://h:4222", "tls://u:p@i:4223")),
        ("nats://token@[::1]:4222", ("nats://token@[::1]:4222",)),
        ("nats://h/", ("nats://h/",)),
    ],
)
def test_nats_urls_are_split(urls: str, servers: tuple[str, ...]) -> None:
    """A list of NATS URLs is split at its commas."""
    assert nats_servers(urls) == servers


@pytest.mark.parametrize(
    "urls",
    [
        "",
        ",",
        "127.0.0.1:4222",
        "http://h",
        "ws://h",
        "nats://",
        "nats://h:x",
        "nats://h:0",
        "nats://h/subject",
        "nats://h?x=y",
        "nats://u:p#w@h",
        "nats://h h",
    ],
)
def test_an_unusable_nats_url_is_refused(urls: str) -> None:
    """A list with anything but nats:// and tls:// URLs of servers is refused."""
    with pytest.raises(ValueError, match="server"):
        nats_servers(urls)


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        ("mongodb://user:pass@h/db", "mongodb://***@h/db"),
        ("lost nats://token@h:1,tls://u:p@i:2!", "lost nats://***@h:1,tls://***@i:2!"),
        ("mongodb://u:p@ss@h/db", "mongodb://***@h/db"),
        ("mongodb://u:p/w@h/db", "mongodb://***@h/db"),
        ("at http://h/x by me@example.org", "at http://h/x by me@example.org"),
        ('{"url": "http://h", "by": "me@h"}', '{"url": "http://h", "by": "me@h"}'),
        ("no uri: a@b", "no uri: a@b"),
    ],
)
def test_only_the_user_information_is_masked(text: str, masked: str) -> None:
    """Scheme, hosts and path stay readable, and so does text that is no URI."""
    assert mask_credentials(text) == masked


_PASSWORDS = st.text(st.characters(exclude_categories=["C", "Z"], exclude_characters='"'))


@given(password=_PASSWORDS, before=st.text(), after=st.text())
def test_no_password_survives_masking(password: str, before: str, after: str) -> None:
    """Whatever stands around it, a URI's password is gone, in plain text and within JSON."""
    secret = f"<{password}>"
    text = f"{before} mongodb://user:{secret}@host/db {after}"
    if secret not in before + after:
        assert secret not in mask_credentials(text)
        assert secret not in json.loads(mask_credentials(json.dumps([text])))[0]


def test_masking_takes_linear_time() -> None:
    """A hostile line of a library's log does not stop the process."""
    for part in ("://", "\\", "\\\\", "a", "@", '\\"', "://@"):
        mask_credentials("mongodb://" + part * 100_000)


@pytest.mark.parametrize(
    ("uri", "shown"),
    [
        ("mongodb://h:27017,i/shop", "mongodb://h:27017,i/shop"),
        ("mongodb://u:p@h/shop?tlsCertificateKeyFilePassword=p", "mongodb://***@h/shop?***"),
        ("mongodb://u:x://y@h/shop", "mongodb://***@h/shop"),
        ('mongodb://u:"p @h/shop', "mongodb://***@h/shop"),
        ("nats://a:1,tls://b", "nats://a:1,tls://b"),
        ("nats://u:p@a,nats://u:p@b", "nats://***@b"),
    ],
)
def test_of_a_uri_only_the_hosts_and_the_path_are_shown(uri: str, shown: str) -> None:
    """User information goes whatever is in it, and options go too."""
    assert mask_uri(uri) == shown
