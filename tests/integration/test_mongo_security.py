"""Every way to log in to MongoDB, and every use of TLS, on real servers that demand it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest
import trio
from cryptography.x509 import load_pem_x509_certificate
from tests.credentials import Authority, Certificates
from tests.guarded import DATABASE, SECRET, GuardedMongod, guarded_mongod
from tests.integration.checking import run_check

from mnc.capture.options import CaptureOptions
from mnc.config import load_settings
from mnc.drivers.mongo.changes import MongoChangeSource
from mnc.drivers.mongo.checkpoints import MongoCheckpointStore
from mnc.drivers.mongo.connection import MongoConnection
from mnc.embedded.servers import MongodProcess
from mnc.errors import ConfigError
from mnc.model import Checkpoint, Epoch, Namespace, Position, StreamSeq

_TIMEOUT_S = 60
_USERS = Namespace(database=DATABASE, collection="users")


@dataclass(frozen=True, slots=True, kw_only=True)
class Secured:
    """A mongod that demands TLS and a login."""

    server: GuardedMongod
    authority: Authority
    client: Certificates
    """Of a user of the server."""
    folder: Path

    @property
    def trust(self) -> str:
        """The options of a connection string with which a client trusts the server."""
        return f"tls=true&tlsCAFile={self.authority.path}"

    def certificate_login(self, certificates: Certificates) -> str:
        """Return the connection string of who logs in with a certificate."""
        shown = certificates.in_one_file()
        login = f"authMechanism=MONGODB-X509&tlsCertificateKeyFile={shown}"
        return f"mongodb://127.0.0.1:{self.server.port}/{DATABASE}?{login}&{self.trust}"


def subject_of(certificates: Certificates) -> str:
    """Return the subject of a certificate, which is the name of its user."""
    return load_pem_x509_certificate(certificates.cert.read_bytes()).subject.rfc4514_string()


@pytest.fixture(scope="module")
def secured(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Secured]:
    """Run a mongod that demands TLS and a login."""
    folder = tmp_path_factory.mktemp("secured")
    authority = Authority(folder / "authority")
    client = authority.issue("mnc@test")
    args = (
        *("--tlsMode", "requireTLS", "--tlsCAFile", str(authority.path)),
        *("--tlsCertificateKeyFile", str(authority.issue("127.0.0.1").in_one_file())),
        "--tlsAllowConnectionsWithoutCertificates",
    )
    with guarded_mongod(
        folder / "mongod",
        *args,
        subjects=[subject_of(client)],
        tls=f"&tls=true&tlsCAFile={authority.path}",
    ) as server:
        yield Secured(server=server, authority=authority, client=client, folder=folder)


Variables = Mapping[str, str]


def scram(secured: Secured) -> Variables:
    """Log in with a user and a password."""
    return {"MONGO_URI": secured.server.uri_of("writer", options=f"&{secured.trust}")}


def scram_sha_1(secured: Secured) -> Variables:
    """Log in with the older way to hash a password."""
    options = f"&{secured.trust}&authMechanism=SCRAM-SHA-1"
    return {"MONGO_URI": secured.server.uri_of("writer", options=options)}


def scram_in_a_file(secured: Secured) -> Variables:
    """Have user and password in a file."""
    path = secured.folder / "uri"
    path.write_text(scram(secured)["MONGO_URI"] + "\n")
    return {"MONGO_URI_FILE": str(path)}


def user_of_another_database(secured: Secured) -> Variables:
    """Log in with a user whom another database knows."""
    options = f"&{secured.trust}&authSource=admin"
    return {"MONGO_URI": secured.server.uri_of("root", options=options)}


def certificate(secured: Secured) -> Variables:
    """Log in with a certificate."""
    return {"MONGO_URI": secured.certificate_login(secured.client)}


def several_hosts(secured: Secured) -> Variables:
    """Name a server that is away first."""
    uri = scram(secured)["MONGO_URI"]
    return {"MONGO_URI": uri.replace("127.0.0.1", "127.0.0.1:1,127.0.0.1", 1)}


def direct(secured: Secured) -> Variables:
    """Look for no other members."""
    return {
        "MONGO_URI": scram(secured)["MONGO_URI"].replace("replicaSet=mnc", "directConnection=true")
    }


def compressed(secured: Secured) -> Variables:
    """Ask for compression; one way isn't installed."""
    return {"MONGO_URI": scram(secured)["MONGO_URI"] + "&compressors=snappy,zlib"}


def what_others_need(secured: Secured) -> Variables:
    """Have options that an application reads and writes with."""
    options = (
        "&readPreference=secondary&readConcernLevel=local&w=0&retryWrites=false&timeoutMS=1"
        "&socketTimeoutMS=1&maxStalenessSeconds=90"
    )
    return {"MONGO_URI": scram(secured)["MONGO_URI"] + options}


Login = Callable[[Secured], Variables]

_LOGINS: list[Login] = [
    scram,
    scram_sha_1,
    scram_in_a_file,
    user_of_another_database,
    certificate,
    several_hosts,
    direct,
    compressed,
    what_others_need,
]


def connection_of(variables: Variables) -> MongoConnection:
    """Connect as `mnc serve` does with these variables."""
    settings = load_settings({"MONGO_WATCH_COLLECTIONS": "users", **variables})
    return MongoConnection(settings.mongo_uri.get_secret_value(), app_name="test")


@pytest.mark.parametrize("login", _LOGINS, ids=lambda login: login.__name__)
async def test_who_logs_in_can_read_changes_and_keep_tokens(secured: Secured, login: Login) -> None:
    """With what the server demands, changes are read, and a token is kept and found again."""
    with trio.fail_after(_TIMEOUT_S):
        connection = connection_of(login(secured))
        source = MongoChangeSource(connection, options=CaptureOptions())
        token = await source.current_token()
        store = MongoCheckpointStore(
            connection, collection="tokens", stream_of=lambda _: login.__name__
        )
        first = Checkpoint(position=Position(token=token, epoch=Epoch(0)), stream_seq=StreamSeq(0))
        await store.create(_USERS, first)
        assert await store.load(_USERS) == first
        await connection.close()


# --- what is refused --------------------------------------------------------------------------


def wrong_password(secured: Secured) -> str:
    """Have another password than the server knows."""
    options = f"&{secured.trust}"
    return secured.server.uri_of("writer", password=f"{SECRET}-wrong", options=options)


def unknown_certificate(secured: Secured) -> str:
    """Have a certificate of the right authority that is no user's."""
    return secured.certificate_login(secured.authority.issue("stranger@test"))


def certificate_of_another_authority(secured: Secured) -> str:
    """Have a certificate that the server doesn't trust."""
    other = Authority(secured.folder / "other clients")
    return secured.certificate_login(other.issue("mnc@test"))


def untrusted_server(secured: Secured) -> str:
    """Trust the system's authorities, of which the server's is none."""
    return secured.server.uri_of("writer", options="&tls=true")


def other_authority(secured: Secured) -> str:
    """Trust an authority that isn't the server's."""
    other = Authority(secured.folder / "other servers")
    return secured.server.uri_of("writer", options=f"&tls=true&tlsCAFile={other.path}")


def other_host_name(secured: Secured) -> str:
    """Name the server otherwise than its certificate."""
    uri = secured.server.uri_of("writer", options=f"&{secured.trust}")
    return uri.replace("127.0.0.1", "localhost").replace("replicaSet=mnc", "directConnection=true")


def no_tls(secured: Secured) -> str:
    """Ask for no TLS."""
    return secured.server.uri_of("writer")


MakeUri = Callable[[Secured], str]


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (wrong_password, "refuses the user or the password in MONGO_URI; correct them"),
        (unknown_certificate, "no user of the name in the client certificate; create one"),
        (certificate_of_another_authority, "doesn't trust the one that it was shown"),
        (untrusted_server, "certificate can't be verified; name the file of its authority"),
        (other_authority, "certificate can't be verified; name the file of its authority"),
        (other_host_name, "certificate is for another host; name the server"),
        (no_tls, "closes the connection at once; add tls=true"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_what_the_server_refuses_is_explained(secured: Secured, make: MakeUri, said: str) -> None:
    """`mnc check` says what is wrong, in the words that `/readyz` has, and shows no secret."""
    settings = {"MONGO_URI": make(secured), "NATS_SERVER_URL": "nats://127.0.0.1:1"}
    checked = run_check(settings, "--json", "--timeout", "3")
    assert checked.code == 1
    assert said in checked.text("MongoDB", "reachable")


def test_server_without_tls_is_explained(mongod: MongodProcess) -> None:
    """TLS that the server doesn't have is told with the option to remove."""
    uri = f"{mongod.database_uri(DATABASE)}&tls=true"
    settings = {"MONGO_URI": uri, "NATS_SERVER_URL": "nats://127.0.0.1:1"}
    checked = run_check(settings, "--json", "--timeout", "3")
    assert "remove tls=true" in checked.text("MongoDB", "reachable")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ("tls=ture", "tls"),
        ("tlsCaFiel=ca.pem", "tlscafiel"),
        ("tls=true&tlsCAFile=/not/there.pem", "No such file"),
        (f"tls=true&tlsCAFile={__file__}", "can't be used"),
        ("tls=true&tlsCertificateKeyFile=/not/there.pem", "No such file"),
        (f"tls=true&tlsCertificateKeyFile={__file__}", "key"),
    ],
)
def test_options_that_cannot_be_kept_to_are_wrong_settings(options: str, said: str) -> None:
    """What pymongo would leave out, and files that it can't use, are errors at the start."""
    uri = f"mongodb://user:{SECRET}@127.0.0.1/{DATABASE}?{options}"
    with pytest.raises(ConfigError) as caught:
        MongoConnection(uri, app_name="test")
    assert caught.value.setting == "MONGO_URI"
    assert said in str(caught.value)
    assert SECRET not in str(caught.value)
