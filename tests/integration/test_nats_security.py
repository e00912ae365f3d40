"""Every way to log in and every use of TLS, on real servers that demand it."""

from __future__ import annotations

import itertools
import random
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Protocol
from urllib.parse import quote
from uuid import uuid4

import pytest
import trio
from structlog.testing import capture_logs
from tests.credentials import Authority, Operator, UserKey
from tests.fakes.values import event
from tests.servers import StartNatsServer, reload

from mnc.config import load_settings
from mnc.drivers.nats.session import NatsSession
from mnc.drivers.nats.stream import JetStream
from mnc.embedded.servers import NatsServerProcess
from mnc.encode.subject import stream_subjects
from mnc.errors import SinkRefusedError
from mnc.model import Position, StreamSeq
from mnc.publish.ports import Batch

_STREAM = "cs"
_MARKER = "cs_position.users"
_USER = {"NATS_USER": "mnc", "NATS_PASSWORD": "secret"}
_USER_CONFIG = "{ user: mnc, password: secret }"
_ACK_TIMEOUT_S = 1.0
_TEST_TIMEOUT_S = 30.0


class Connector:
    """A session and its stream, from variables of the environment, as `mnc serve` has them."""

    def __init__(self, variables: Mapping[str, str]) -> None:
        required = {"MONGO_URI": "mongodb://h/test", "MONGO_WATCH_COLLECTIONS": "users"}
        settings = load_settings({**required, **variables})
        self.session = NatsSession(settings.nats_servers, name="test", security=settings)
        self.stream = JetStream(
            self.session,
            stream=_STREAM,
            subjects=stream_subjects(_STREAM),
            ack_timeout_s=_ACK_TIMEOUT_S,
        )

    async def store(self, number: int) -> None:
        """Store event `number`, as soon as there is a connection."""
        await self.stream.ensure()
        marker = await self.stream.read_marker(_MARKER)
        stored = event(number, stream=_STREAM)
        batch = Batch(
            events=[stored],
            marker_subject=_MARKER,
            position=Position(token=stored.token),
            expected_seq=StreamSeq(0) if marker is None else marker.stream_seq,
        )
        await self.stream.publish(batch)

    async def reason(self, part: str) -> str:
        """Return why there is no connection, once that has `part` in it."""
        while part not in (  # noqa: ASYNC110 - nobody is told of a reason
            reason := self.session.last_error or ""
        ):
            await trio.sleep(0.02)
        return reason


class Connect(Protocol):
    """Start a session that lives as long as the test."""

    def __call__(self, url: str, **variables: str) -> Awaitable[Connector]:
        """Start one on the servers of `url`."""
        ...


@pytest.fixture
async def connect(nursery: trio.Nursery) -> Connect:
    """Give the function that starts sessions, and fail a test that hangs."""

    async def start(url: str, **variables: str) -> Connector:
        connector = Connector({"NATS_SERVER_URL": url, **variables})
        await nursery.start(connector.session.run)
        return connector

    async def expire() -> None:
        await trio.sleep(_TEST_TIMEOUT_S)
        raise trio.TooSlowError

    nursery.start_soon(expire)
    return start


@dataclass(frozen=True, slots=True, kw_only=True)
class Login:
    """What a server demands, and what answers it."""

    server_config: str
    setting: str
    """What a refusal should point at."""
    secret: str
    variables: Mapping[str, str] = field(default_factory=dict)
    file_setting: str = ""
    """The setting that can name a file with the secret."""
    user_info: str = ""

    def url(self, server: NatsServerProcess) -> str:
        """Return the server's URL as this login has it."""
        return server.url.replace("://", f"://{self.user_info}")


def _creds_file(folder: Path) -> Login:
    operator = Operator()
    creds = operator.creds()
    path = folder / f"{uuid4().hex}.creds"
    path.write_text(creds)
    return Login(
        server_config=operator.server_config(),
        setting="NATS_CREDS_FILE",
        secret=creds,
        variables={"NATS_CREDS_FILE": str(path)},
        file_setting="NATS_CREDS_FILE",
    )


def _nkey(_: Path) -> Login:
    key = UserKey()
    return Login(
        server_config=f"authorization {{ users: [ {{ nkey: {key.public} }} ] }}",
        setting="NATS_NKEY_SEED",
        secret=key.seed,
        variables={"NATS_NKEY_SEED": key.seed},
        file_setting="NATS_NKEY_SEED_FILE",
    )


def _password(_: Path) -> Login:
    password = f"p@ss/{uuid4().hex}"
    return Login(
        server_config=f'authorization {{ user: mnc, password: "{password}" }}',
        setting="NATS_USER",
        secret=password,
        variables={"NATS_USER": "mnc", "NATS_PASSWORD": password},
        file_setting="NATS_PASSWORD_FILE",
    )


def _token(_: Path) -> Login:
    token = f"t@k/{uuid4().hex}"
    return Login(
        server_config=f'authorization {{ token: "{token}" }}',
        setting="NATS_TOKEN",
        secret=token,
        variables={"NATS_TOKEN": token},
        file_setting="NATS_TOKEN_FILE",
    )


def _password_in_the_url(folder: Path) -> Login:
    login = _password(folder)
    return Login(
        server_config=login.server_config,
        setting="NATS_SERVER_URL",
        secret=login.secret,
        user_info=f"mnc:{quote(login.secret, safe='')}@",
    )


def _token_in_the_url(folder: Path) -> Login:
    login = _token(folder)
    return Login(
        server_config=login.server_config,
        setting="NATS_SERVER_URL",
        secret=login.secret,
        user_info=f"{quote(login.secret, safe='')}@",
    )


def _client_certificate(folder: Path) -> Login:
    name = f"{uuid4().hex}@mnc.test"
    authority = _shared_authority(folder)
    certificate = authority.issue(name)
    server = authority.issue("127.0.0.1")
    return Login(
        server_config=(
            server.server_config(authority.path, "verify_and_map: true")
            + f'authorization {{ users: [ {{ user: "{name}" }} ] }}'
        ),
        setting="NATS_TLS_CERT_FILE",
        secret=certificate.key.read_text(),
        variables={
            "NATS_TLS_CA_FILE": str(authority.path),
            "NATS_TLS_CERT_FILE": str(certificate.cert),
            "NATS_TLS_KEY_FILE": str(certificate.key),
        },
    )


def _authority(folder: Path) -> Authority:
    return Authority(folder / f"authority-{uuid4().hex[:8]}")


@cache
def _shared_authority(folder: Path) -> Authority:
    return _authority(folder)


MakeLogin = Callable[[Path], Login]

_IN_A_FILE: list[MakeLogin] = [_creds_file, _nkey, _password, _token]
_LOGINS: list[MakeLogin] = [
    *_IN_A_FILE,
    _password_in_the_url,
    _token_in_the_url,
    _client_certificate,
]


def _name(login: MakeLogin) -> str:
    return login.__name__.strip("_")


@pytest.mark.parametrize("make", _LOGINS, ids=_name)
async def test_who_logs_in_can_store_events(
    make: MakeLogin, tmp_path: Path, start_own_nats: StartNatsServer, connect: Connect
) -> None:
    """With what the server demands, an event is stored from end to end."""
    login = make(tmp_path)
    server = start_own_nats(extra_config=login.server_config)
    connector = await connect(login.url(server), **login.variables)
    await connector.store(1)


@pytest.mark.parametrize("make", _LOGINS, ids=_name)
async def test_a_refused_login_is_explained_and_tried_until_it_is_accepted(
    make: MakeLogin, tmp_path: Path, start_own_nats: StartNatsServer, connect: Connect
) -> None:
    """The reason names the setting and has no secret; events are stored once a server accepts."""
    accepted, refused = make(tmp_path), make(tmp_path)
    server = start_own_nats(extra_config=accepted.server_config)
    with capture_logs() as logs:
        connector = await connect(refused.url(server), **refused.variables)
        reason = await connector.reason(refused.setting)
        assert refused.secret not in reason + repr(logs)
        server.kill()
        start_own_nats(server.data_dir, port=server.port, extra_config=refused.server_config)
        await connector.store(1)
        assert refused.secret not in repr(logs)


@pytest.mark.parametrize("make", _IN_A_FILE, ids=_name)
async def test_a_renewed_secret_is_read_from_its_file(
    make: MakeLogin, tmp_path: Path, start_own_nats: StartNatsServer, connect: Connect
) -> None:
    """A secret that is replaced in its file is used without a restart of the process."""
    old, new = make(tmp_path), make(tmp_path)
    server = start_own_nats(extra_config=new.server_config)
    path = tmp_path / "secret"
    path.write_text(old.secret)
    user = {name: value for name, value in old.variables.items() if name == "NATS_USER"}
    connector = await connect(server.url, **user, **{old.file_setting: str(path)})
    await connector.reason(old.setting)
    path.unlink()
    await connector.reason("can't read the file")
    path.write_text(new.secret)
    await connector.store(1)


async def test_a_login_that_expires_is_renewed(
    tmp_path: Path, start_own_nats: StartNatsServer, connect: Connect
) -> None:
    """When the server ends a session whose JWT has expired, the next one is read from the file."""
    operator = Operator()
    server = start_own_nats(extra_config=operator.server_config())
    path = tmp_path / "user.creds"
    path.write_text(operator.creds(expires_at_s=time.time() + 3))
    connector = await connect(server.url, NATS_CREDS_FILE=str(path))
    await connector.store(1)
    assert "check NATS_CREDS_FILE" in await connector.reason("expired")
    path.write_text(operator.creds())
    await connector.store(2)


async def test_a_login_that_is_revoked_and_granted_again_goes_on(
    start_own_nats: StartNatsServer, connect: Connect
) -> None:
    """A server that ends the session for good makes the client useless, not the connector."""
    config = f"authorization {_USER_CONFIG}"
    server = start_own_nats(extra_config=config)
    connector = await connect(server.url, **_USER)
    await connector.store(1)
    reload(server, config.replace("secret", "another"))
    assert "check NATS_USER" in await connector.reason("authorization violation")
    reload(server, config)
    await connector.store(2)


async def test_a_server_that_wants_a_login_says_so(
    start_own_nats: StartNatsServer, connect: Connect
) -> None:
    """Without any login the reason says what can be set."""
    server = start_own_nats(extra_config="authorization { token: secret }")
    connector = await connect(server.url)
    assert "set NATS_CREDS_FILE" in await connector.reason("wants a login")


async def test_one_live_server_of_two_is_enough(
    start_own_nats: StartNatsServer, connect: Connect
) -> None:
    """Of several URLs those are used that answer; one that names a login is enough for all."""
    dead = start_own_nats()
    dead.kill()
    live = start_own_nats(extra_config=f"authorization {_USER_CONFIG}")
    dead_url = dead.url.replace("://", "://mnc:secret@")
    connector = await connect(f"{dead_url},{live.url}")
    await connector.store(1)


async def test_an_authority_that_is_not_trusted_is_explained(
    tmp_path: Path, start_own_nats: StartNatsServer, connect: Connect
) -> None:
    """A server's certificate has to be from a trusted authority, and for the server's name."""
    authority, other = _authority(tmp_path), _authority(tmp_path)
    tls = authority.issue("127.0.0.1").server_config(authority.path)
    server = start_own_nats(extra_config=tls)
    connector = await connect(server.url)
    assert "check NATS_TLS_CA_FILE" in await connector.reason("not trusted")
    connector = await connect(server.url, NATS_TLS_CA_FILE=str(other.path))
    assert "check NATS_TLS_CA_FILE" in await connector.reason("not trusted")
    connector = await connect(server.url, NATS_TLS_CA_FILE=str(authority.path))
    await connector.store(1)


async def test_a_certificate_for_another_name_needs_that_name(
    tmp_path: Path, start_own_nats: StartNatsServer, connect: Connect
) -> None:
    """A server that is reached under another name than its certificate's needs the name set."""
    authority = _authority(tmp_path)
    tls = authority.issue("nats.test").server_config(authority.path)
    server = start_own_nats(extra_config=tls)
    connector = await connect(server.url, NATS_TLS_CA_FILE=str(authority.path))
    assert "check NATS_TLS_HOSTNAME" in await connector.reason("for another name")
    connector = await connect(
        server.url, NATS_TLS_CA_FILE=str(authority.path), NATS_TLS_HOSTNAME="nats.test"
    )
    await connector.store(1)


async def test_a_client_certificate_is_shown_and_renewed(
    tmp_path: Path, start_own_nats: StartNatsServer, connect: Connect
) -> None:
    """Without a certificate, or with a foreign one, the reason says so; a renewed one is read."""
    authority, other = _authority(tmp_path), _authority(tmp_path)
    tls = authority.issue("127.0.0.1").server_config(authority.path, "verify: true")
    server = start_own_nats(extra_config=tls)
    connector = await connect(server.url, NATS_TLS_CA_FILE=str(authority.path))
    assert "set NATS_TLS_CERT_FILE" in await connector.reason("wants a client certificate")
    shown = other.issue("mnc@mnc.test")
    connector = await connect(
        server.url,
        NATS_TLS_CA_FILE=str(authority.path),
        NATS_TLS_CERT_FILE=str(shown.cert),
        NATS_TLS_KEY_FILE=str(shown.key),
    )
    assert "check NATS_TLS_CERT_FILE" in await connector.reason("refuses the client certificate")
    renewed = authority.issue("mnc@mnc.test")
    renewed.key.rename(shown.key)
    renewed.cert.rename(shown.cert)
    await connector.store(1)


async def test_tls_may_begin_with_the_handshake(
    tmp_path: Path, start_own_nats: StartNatsServer, connect: Connect
) -> None:
    """A server with handshake_first is reached with the setting; the reason asks for it else."""
    authority = _authority(tmp_path)
    tls = authority.issue("127.0.0.1").server_config(authority.path, "handshake_first: true")
    server = start_own_nats(extra_config=tls)
    ca = str(authority.path)
    connector = await connect(server.url, NATS_TLS_CA_FILE=ca)
    assert "set NATS_TLS_HANDSHAKE_FIRST=true" in await connector.reason("greeting")
    connector = await connect(server.url, NATS_TLS_CA_FILE=ca, NATS_TLS_HANDSHAKE_FIRST="true")
    await connector.store(1)


async def test_a_handshake_that_the_server_does_not_expect_is_explained(
    tmp_path: Path, start_own_nats: StartNatsServer, connect: Connect
) -> None:
    """The reason asks to unset the setting for a server that greets first, with TLS or without."""
    authority = _authority(tmp_path)
    tls = authority.issue("127.0.0.1").server_config(authority.path)
    for server in (start_own_nats(), start_own_nats(extra_config=tls)):
        connector = await connect(
            server.url, NATS_TLS_CA_FILE=str(authority.path), NATS_TLS_HANDSHAKE_FIRST="true"
        )
        await connector.reason("unset NATS_TLS_HANDSHAKE_FIRST")


@pytest.mark.parametrize("setting", ["NATS_SERVER_URL", "NATS_TLS_CA_FILE"])
async def test_no_credentials_go_to_a_server_without_tls(
    setting: str, tmp_path: Path, start_own_nats: StartNatsServer, connect: Connect
) -> None:
    """Where TLS is asked for, a server without it gets no password and no event."""
    server = start_own_nats(extra_config=f"authorization {_USER_CONFIG}\ntrace: true")
    if setting == "NATS_SERVER_URL":
        connector = await connect(server.url.replace("nats://", "tls://"), **_USER)
    else:
        ca = str(_authority(tmp_path).path)
        connector = await connect(server.url, **_USER, NATS_TLS_CA_FILE=ca)
    await connector.reason("the server has no TLS")
    assert "CONNECT" not in server.log_text()
    await (await connect(server.url, **_USER)).store(1)
    assert "CONNECT" in server.log_text()  # so that the one before was worth something


@pytest.mark.parametrize(
    ("permissions", "named"),
    [
        (f'publish: {{ deny: "{_MARKER}" }}', f"publishing to {_MARKER}"),
        ('publish: { deny: "$JS.API.STREAM.MSG.GET.*" }', "publishing to $JS.API.STREAM.MSG.>"),
        ('publish: { deny: "cs.>" }', "publishing to cs.users.insert.>"),
        ('subscribe: { deny: "_INBOX.>" }', "subscribing to _INBOX.>"),
    ],
)
async def test_a_missing_permission_is_named_and_noticed_when_granted(
    permissions: str, named: str, start_own_nats: StartNatsServer, connect: Connect
) -> None:
    """What the user may not do is an error of its own, not a silence; a grant ends it."""
    config = "authorization {{ users: [{{ user: mnc, password: secret, permissions: {{{}}} }}] }}"
    server = start_own_nats(extra_config=config.format(""))
    connector = await connect(server.url, **_USER)
    await connector.store(1)
    reload(server, config.format(permissions))
    with pytest.raises(SinkRefusedError) as caught:
        await connector.store(2)
    assert named in str(caught.value)
    reload(server, config.format(""))
    await connector.store(2)


async def test_the_documented_permissions_are_enough(
    start_own_nats: StartNatsServer, connect: Connect
) -> None:
    """A user with what docs/settings.md asks for, and no more, stores events."""
    permissions = """
        publish: ["cs.>", "cs_position.>", "$JS.API.STREAM.*.cs", "$JS.API.STREAM.MSG.GET.cs"]
        subscribe: ["_INBOX.>"]
    """
    user = f"{{ user: mnc, password: secret, permissions: {{ {permissions} }} }}"
    server = start_own_nats(extra_config=f"authorization {{ users: [ {user} ] }}")
    connector = await connect(server.url, **_USER)
    await connector.store(1)
    await connector.store(2)


async def test_a_session_ends_whenever_it_is_cancelled(start_own_nats: StartNatsServer) -> None:
    """Refused, connecting, connected or closing: no session outlives its cancellation."""
    config = f"authorization {_USER_CONFIG}"
    server = start_own_nats(extra_config=config)
    rng = random.Random(4)

    async def live(seconds: float) -> None:
        connector = Connector({"NATS_SERVER_URL": server.url, **_USER})
        with trio.move_on_after(seconds):
            await connector.session.run()

    async def revoke_and_grant() -> None:
        for changed in itertools.cycle([config.replace("secret", "another"), config]):
            await trio.sleep(rng.uniform(0.1, 0.8))
            reload(server, changed)

    with trio.fail_after(_TEST_TIMEOUT_S):
        async with trio.open_nursery() as changes:
            changes.start_soon(revoke_and_grant)
            async with trio.open_nursery() as sessions:
                for _ in range(30):
                    sessions.start_soon(live, rng.uniform(0, 5))
            changes.cancel_scope.cancel()
