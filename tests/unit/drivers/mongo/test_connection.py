"""The connection to MongoDB: what is looked up when, and what is left out of the URI."""

from __future__ import annotations

import dns.resolver
import pytest
import trio
from pymongo.server_description import ServerDescription
from structlog.testing import capture_logs

from mnc.drivers.mongo.connection import MongoConnection
from mnc.errors import SourceUnavailableError


async def reason(connection: MongoConnection) -> str:
    """Return why MongoDB can't be reached."""
    with pytest.raises(SourceUnavailableError) as caught:
        await connection.check()
    return str(caught.value)


async def test_hosts_are_looked_up_until_dns_knows_them(monkeypatch: pytest.MonkeyPatch) -> None:
    """A DNS that is away is asked at the first call and at each further one, not at the start."""
    answers: list[type[Exception]] = [
        dns.resolver.NoNameservers,
        dns.resolver.LifetimeTimeout,
        dns.resolver.NXDOMAIN,
    ]

    def resolve(*_: object, **__: object) -> None:
        raise answers.pop(0)

    monkeypatch.setattr(dns.resolver, "resolve", resolve)
    with trio.fail_after(10):
        connection = MongoConnection("mongodb+srv://db.mnc.test/shop", app_name="test")
        assert connection.database.name == "shop"
        assert len(answers) == 3
        assert "DNS doesn't answer" in await reason(connection)
        assert "DNS doesn't answer" in await reason(connection)
        assert "no SRV record" in await reason(connection)
        await connection.close()


def test_missing_compression_is_said_and_done_without() -> None:
    """A compressor that isn't installed costs bandwidth alone, so it is no wrong setting."""
    with capture_logs() as logs:
        MongoConnection("mongodb://h/shop?compressors=snappy,zlib", app_name="test")
    (line,) = logs
    assert line["event"] == "mongo.option_ignored"
    assert "snappy" in line["reason"]


@pytest.mark.parametrize(
    ("options", "name", "value"),
    [
        ("?connectTimeoutMS=7000", "connect_timeout", 7.0),
        ("?CONNECTTIMEOUTMS=7000", "connect_timeout", 7.0),
        ("", "connect_timeout", 3.0),
        ("?socketTimeoutMS=100", "socket_timeout", None),
        ("?appName=shop", "appname", "shop"),
        ("", "appname", "test"),
    ],
)
def test_what_the_uri_says_counts_but_for_deadlines_of_reading(
    options: str, name: str, value: object
) -> None:
    """The URI's own options win over the defaults; one that would end a long scan doesn't count."""
    connection = MongoConnection(f"mongodb://h/shop{options}", app_name="test")
    pool = connection.client.options.pool_options
    found = pool.metadata["application"]["name"] if name == "appname" else getattr(pool, name)
    assert found == value


def test_deadline_of_operations_does_not_count() -> None:
    """A deadline of all operations would end a long scan, too."""
    connection = MongoConnection("mongodb://h/shop?timeoutMS=100", app_name="test")
    assert connection.client.options.timeout is None


def test_one_of_several_mongos_is_kept_to() -> None:
    """Of the servers that can be used the same one gets every call, and another without it."""
    choose = MongoConnection("mongodb://a,b/shop", app_name="test").client.options.server_selector
    a, b, c = (ServerDescription((name, 27017)) for name in "abc")
    assert choose([c, a, b]) == choose([b, c, a]) == [a]
    assert choose([c, b]) == [b]
    assert choose([]) == []
