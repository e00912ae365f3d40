"""URIs that may hold credentials: what the settings need of them, and how to show them.

No error raised here repeats any part of the URI. The client libraries parse the rest of it.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from urllib.parse import unquote, unquote_plus, urlsplit

from mnc.config.names import check_database

__all__ = [
    "mask_credentials",
    "mask_uri",
    "mongo_database",
    "mongo_options",
    "nats_servers",
    "split_nats_login",
]

_MONGO_SCHEMES = ("mongodb", "mongodb+srv")
_NATS_SCHEMES = ("nats", "tls")

# From a URI's "://" to the last "@" before the next URI, white space or quote. What is escaped, as
# a quote in a line of JSON, belongs to the URI. Hiding too much is cheaper than too little.
_USER_INFO = re.compile(r'://(?:\\.|(?!://)[^\s"\\])*@')

_NKEY_SEED = re.compile(r"S[A-Z][A-Z2-7]{56}")


def mask_credentials(text: str) -> str:
    """Replace the user information of every URI, and every nkey seed, in `text` with `***`."""
    return _NKEY_SEED.sub("***", _USER_INFO.sub("://***@", text))


def mask_uri(uri: str) -> str:
    """Return what may be shown of a URI, or several, with a secret in it: its hosts and path.

    Its options may hold passwords as well, and a password may look like the end of its URI.
    """
    visible, question_mark, _ = uri.partition("?")
    hidden = re.sub("://.*@", "://***@", visible, flags=re.DOTALL)
    return f"{hidden}?***" if question_mark else hidden


def mongo_database(uri: str) -> str:
    """Return the database that a MongoDB URI names.

    Follows the connection string specification as pymongo does: the options begin at the first
    `?`, the database at the first `/` before it, the hosts after the last `@` before that.
    Raises ValueError when the URI is not a `mongodb://` or `mongodb+srv://` one with hosts and a
    database that can be watched.
    """
    scheme, separator, rest = uri.partition("://")
    if not separator or scheme not in _MONGO_SCHEMES:
        raise ValueError("it does not begin with mongodb:// or mongodb+srv://")
    authority, _, path = rest.partition("?")[0].partition("/")
    hosts = authority.rpartition("@")[2].split(",")
    if not all(_is_host(host) for host in hosts):
        raise ValueError("a host is empty or its port is not a number from 1 to 65535")
    if scheme == "mongodb+srv" and (len(hosts) > 1 or ":" in hosts[0]):
        raise ValueError("a mongodb+srv:// URI names one host and no port")
    return check_database(unquote_plus(path))


def mongo_options(uri: str) -> frozenset[str]:
    """Return the names of the options that a MongoDB URI sets, in lower case."""
    options = re.split("[&;]", uri.partition("?")[2])
    return frozenset(option.partition("=")[0].lower() for option in options if option)


def nats_servers(urls: str) -> tuple[str, ...]:
    """Split a comma-separated list of NATS URLs.

    Raises ValueError when the list is empty or one is not a `nats://` or `tls://` URL with a host.
    """
    servers = tuple(url.strip() for url in urls.split(",") if url.strip())
    if not servers:
        raise ValueError("it names no server")
    for server in servers:
        _check_nats(server)
    return servers


def split_nats_login(servers: Sequence[str]) -> tuple[list[str], tuple[str, str | None] | None]:
    """Take the user information, which may be percent-encoded, out of NATS URLs.

    Returns the URLs without it, and a user with a password, or a token with None, or None when no
    URL has any. Raises ValueError when two URLs have different ones.
    """
    bare, logins = [], set()
    for server in servers:
        scheme, _, authority = server.partition("://")
        user_info, separator, host = authority.rpartition("@")
        bare.append(f"{scheme}://{host}")
        if separator:
            user, colon, password = user_info.partition(":")
            logins.add((unquote(user), unquote(password) if colon else None))
    if len(logins) > 1:
        raise ValueError("its URLs have different credentials")
    return bare, next(iter(logins), None)


def _check_nats(url: str) -> None:
    scheme, separator, rest = url.partition("://")
    if not separator or scheme not in _NATS_SCHEMES:
        raise ValueError("a server's URL does not begin with nats:// or tls://")
    authority, _, path = rest.partition("/")
    if path or not authority.isprintable() or set(" ?#").intersection(authority):
        raise ValueError(
            "a server's URL has more than a user, a password, a host and a port; "
            "a user name or password needs its @ : / ? # [ ] % percent-encoded"
        )
    if not _is_host(authority.rpartition("@")[2]):
        raise ValueError("a server's host is empty or its port is not a number from 1 to 65535")


def _is_host(host: str) -> bool:
    """Say whether this is `name`, `name:port`, `address:port` or `[IPv6 address]:port`."""
    try:
        parts = urlsplit(f"//{host}")
        return bool(parts.hostname) and parts.port != 0 and parts.netloc == host
    except ValueError:
        return False
