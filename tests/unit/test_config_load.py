"""Settings come from four sources, in one order, and wrong ones are explained without secrets."""

from __future__ import annotations

import traceback
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mnc.config import (
    SettingInForce,
    Settings,
    load_settings,
    near_misses,
    setting_rows,
    settings_in_force,
)
from mnc.errors import ConfigError

if TYPE_CHECKING:
    from pathlib import Path

_ENOUGH = {
    "MONGO_URI": "mongodb://127.0.0.1:27017/shop",
    "MONGO_WATCH_COLLECTIONS": "users,movies",
}


def _problem(**variables: str) -> str:
    with pytest.raises(ConfigError) as caught:
        load_settings(_ENOUGH | variables)
    return str(caught.value)


def test_two_variables_are_enough() -> None:
    """With a URI and the collections set, every other setting has its documented default."""
    settings = load_settings(_ENOUGH)
    assert settings.mongo_watch_collections == ("users", "movies")
    assert settings.mongo_watch_operations == ("insert", "update", "replace", "delete")
    assert settings.mongo_resume_tokens_collection == "cs_resume_tokens"
    assert settings.nats_servers == ("nats://127.0.0.1:4222",)
    assert settings.nats_stream_name == "cs"
    assert settings.raft_cluster_size == 3
    assert (settings.http_host, settings.http_port) == ("0.0.0.0", 3000)
    assert settings.publish_max_inflight_bytes == 32 * 1024 * 1024
    assert settings.publish_max_inflight_batches == 8
    assert settings.nats_ack_timeout_s == 5.0
    assert settings.checkpoint_interval_s == 0.5
    assert settings.shutdown_timeout_s == 20.0
    assert (settings.log_level, settings.log_format) == ("info", "auto")


def test_variables_of_the_environment_are_read() -> None:
    """Each variable sets the field of its own name, with white space around it ignored."""
    settings = load_settings(
        {
            "MONGO_URI": " mongodb+srv://example.org/shop\n",
            "MONGO_WATCH_COLLECTIONS": " users , movies, ",
            "MONGO_WATCH_OPERATIONS": "delete,insert",
            "MONGO_RESUME_TOKENS_COLLECTION": "tokens",
            "NATS_SERVER_URL": "nats://a:4222, tls://b",
            "NATS_STREAM_NAME": "shop",
            "RAFT_CLUSTER_SIZE": "1",
            "HTTP_HOST": "127.0.0.1",
            "HTTP_PORT": "0",
            "PUBLISH_MAX_INFLIGHT_BYTES": "64MB",
            "PUBLISH_MAX_INFLIGHT_BATCHES": "40",
            "NATS_ACK_TIMEOUT_S": "0.1",
            "CHECKPOINT_INTERVAL_S": "0",
            "SHUTDOWN_TIMEOUT_S": "0",
            "LOG_LEVEL": "DEBUG",
            "LOG_FORMAT": "json",
            "SOMETHING_ELSE": "x",
        }
    )
    assert settings.mongo_database == "shop"
    assert settings.mongo_watch_collections == ("users", "movies")
    assert settings.mongo_watch_operations == ("delete", "insert")
    assert settings.mongo_resume_tokens_collection == "tokens"
    assert settings.nats_servers == ("nats://a:4222", "tls://b")
    assert settings.nats_stream_name == "shop"
    assert settings.raft_cluster_size == 1
    assert (settings.http_host, settings.http_port) == ("127.0.0.1", 0)
    assert settings.publish_max_inflight_bytes == 64_000_000
    assert settings.publish_max_inflight_batches == 40
    assert settings.nats_ack_timeout_s == 0.1
    assert settings.checkpoint_interval_s == settings.shutdown_timeout_s == 0
    assert (settings.log_level, settings.log_format) == ("debug", "json")


def test_an_empty_variable_counts_as_unset() -> None:
    """A variable that is empty, as compose files and manifests leave them, gives the default."""
    assert load_settings(_ENOUGH | {"HTTP_PORT": "", "NATS_STREAM_NAME": " "}).http_port == 3000
    with pytest.raises(ConfigError) as caught:
        load_settings(_ENOUGH | {"MONGO_URI": ""})
    assert caught.value.setting == "MONGO_URI"
    assert "is not set" in str(caught.value)


@pytest.mark.parametrize("written", ["1MiB", "1048576", "1 MiB", "1024KiB"])
def test_bytes_may_have_a_unit(written: str) -> None:
    """A number of bytes is accepted plain or with a unit."""
    settings = load_settings(_ENOUGH | {"PUBLISH_MAX_INFLIGHT_BYTES": written})
    assert settings.publish_max_inflight_bytes == 1048576


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("MONGO_WATCH_COLLECTIONS", ","),
        ("MONGO_WATCH_COLLECTIONS", "users,users"),
        ("MONGO_WATCH_COLLECTIONS", "users,a$b"),
        ("MONGO_WATCH_COLLECTIONS", "users,!u*"),
        ("MONGO_WATCH_COLLECTIONS", "x" * 251),
        ("MONGO_WATCH_OPERATIONS", "insert,upsert"),
        ("MONGO_WATCH_OPERATIONS", "insert,insert"),
        ("MONGO_RESUME_TOKENS_COLLECTION", "movies"),
        ("MONGO_RESUME_TOKENS_COLLECTION", "system.tokens"),
        ("NATS_STREAM_NAME", "a.b"),
        ("RAFT_CLUSTER_SIZE", "0"),
        ("HTTP_PORT", "65536"),
        ("HTTP_PORT", "eighty"),
        ("HTTP_PORT", "tcp://10.0.0.1:80"),
        ("PUBLISH_MAX_INFLIGHT_BYTES", "1023KiB"),
        ("PUBLISH_MAX_INFLIGHT_BYTES", "32Mi"),
        ("PUBLISH_MAX_INFLIGHT_BATCHES", "0"),
        ("PUBLISH_MAX_INFLIGHT_BATCHES", "41"),
        ("NATS_ACK_TIMEOUT_S", "0.05"),
        ("NATS_ACK_TIMEOUT_S", "nan"),
        ("NATS_ACK_TIMEOUT_S", "inf"),
        ("CHECKPOINT_INTERVAL_S", "-1"),
        ("CHECKPOINT_INTERVAL_S", "61"),
        ("SHUTDOWN_TIMEOUT_S", "20s"),
        ("LOG_LEVEL", "verbose"),
        ("LOG_FORMAT", "xml"),
    ],
)
def test_a_wrong_value_is_explained(setting: str, value: str) -> None:
    """The error names the setting, what was found, where, and what is allowed, on one line."""
    with pytest.raises(ConfigError) as caught:
        load_settings(_ENOUGH | {setting: value})
    assert caught.value.setting == setting
    text = str(caught.value)
    assert text.startswith(f"{setting}: found {value!r}"[:80])
    assert "in the environment" in text
    assert "allowed: " in text
    assert "\n" not in text


def test_every_problem_has_its_line() -> None:
    """A user sees all wrong settings at once, one a line, in the order of the settings."""
    lines = _problem(HTTP_PORT="x", LOG_LEVEL="x", MONGO_WATCH_COLLECTIONS="").splitlines()
    assert [line.partition(":")[0] for line in lines] == [
        "MONGO_WATCH_COLLECTIONS",
        "HTTP_PORT",
        "LOG_LEVEL",
    ]


def test_a_toml_file_is_read(tmp_path: Path) -> None:
    """The file that MNC_CONFIG names may set everything, with TOML's own lists and numbers."""
    path = tmp_path / "mnc.toml"
    path.write_text(
        'mongo_uri = "mongodb://h/shop"\n'
        'mongo_watch_collections = ["users", "with, comma"]\n'
        "http_port = 8080\n"
        "nats_ack_timeout_s = 2\n"
    )
    settings = load_settings({"MNC_CONFIG": str(path)})
    assert settings.mongo_watch_collections == ("users", "with, comma")
    assert settings.http_port == 8080
    assert settings.nats_ack_timeout_s == 2.0


def test_environment_wins_over_secret_file_over_toml(tmp_path: Path) -> None:
    """The nearer source wins: environment, then the file of a secret, then TOML."""
    toml, secret = tmp_path / "mnc.toml", tmp_path / "uri"
    toml.write_text('mongo_uri = "mongodb://h/toml"\nhttp_port = 1\nnats_stream_name = "toml"\n')
    secret.write_text("mongodb://u:p@h/secret\n")
    settings = load_settings(
        {
            "MNC_CONFIG": str(toml),
            "MONGO_URI_FILE": str(secret),
            "MONGO_WATCH_COLLECTIONS": "users",
            "HTTP_PORT": "2",
        }
    )
    assert settings.mongo_uri.get_secret_value() == "mongodb://u:p@h/secret"
    assert settings.http_port == 2
    assert settings.nats_stream_name == "toml"


def test_an_unknown_key_in_toml_is_refused(tmp_path: Path) -> None:
    """A misspelt key ends with an error that suggests the right one; so does a table."""
    path = tmp_path / "mnc.toml"
    path.write_text("nats_stream = 'x'\nHTTP_PORT = 1\nzzz = 1\n[mongo]\nuri = 'x'\n")
    problem = _problem(MNC_CONFIG=str(path))
    assert problem.startswith("MNC_CONFIG: ")
    assert "'nats_stream' is not a setting (did you mean 'nats_stream_name'?)" in problem
    assert "'HTTP_PORT' is not a setting (did you mean 'http_port'?)" in problem
    assert "'zzz' is not a setting" in problem
    assert "'mongo' is not a setting" in problem


def test_a_wrong_value_in_toml_names_the_file(tmp_path: Path) -> None:
    """The user learns in which file the wrong value stands."""
    path = tmp_path / "mnc.toml"
    path.write_text("http_port = [1]\n")
    assert f"HTTP_PORT: found [1] in {path};" in _problem(MNC_CONFIG=str(path))


@pytest.mark.parametrize("variable", ["MNC_CONFIG", "NATS_SERVER_URL_FILE"])
def test_a_file_that_can_not_be_read_is_named(tmp_path: Path, variable: str) -> None:
    """A missing file, a folder, and a file that is no text are errors of the naming variable."""
    binary = tmp_path / "binary"
    binary.write_bytes(b"\xff\xfe")
    for path in (tmp_path / "missing", tmp_path, binary):
        problem = _problem(**{variable: str(path)})
        assert problem.startswith(f"{variable}: ")
        assert str(path) in problem


def test_broken_toml_names_the_place(tmp_path: Path) -> None:
    """A file that is not TOML is an error of MNC_CONFIG that gives the line."""
    path = tmp_path / "mnc.toml"
    path.write_text("http_port = 1\nmongo_uri = mongodb://u:hunter2@h/db\n")
    problem = _problem(MNC_CONFIG=str(path))
    assert problem.startswith("MNC_CONFIG: ")
    assert "line 2" in problem
    assert "hunter2" not in problem


def test_a_secret_and_its_file_exclude_each_other(tmp_path: Path) -> None:
    """With both set nobody can say which was meant, so it is an error."""
    path = tmp_path / "uri"
    path.write_text("mongodb://h/db")
    problem = _problem(MONGO_URI_FILE=str(path))
    assert problem == "MONGO_URI_FILE: MONGO_URI is set too; unset one of them"


def test_an_empty_secret_file_is_refused(tmp_path: Path) -> None:
    """An empty file of a secret is a failed deployment, not a default."""
    path = tmp_path / "url"
    path.write_text("\n")
    assert "is empty" in _problem(NATS_SERVER_URL_FILE=str(path))


_PART = "hunter2"
_URIS_WITH_A_SECRET = [
    "mongodb://user:hunter2@h/",
    "mongodb://user:hunter2@h",
    "mongodb://user:hunter2@h:port/db",
    "mongodb://user:hun/hunter2@h/db",
    "mongodb://user:#?/hunter2@h/db",
    "mongodb://user:hunter2@/db",
    "mongodb://hunter2:70000/db",
    "mongodb://h/hunter2@h/db",
    "mongodb://h/hunter2.db",
    "mongodb+srv://user:hunter2@a,b/db",
    "mongo://user:hunter2@h/db",
    "hunter2",
    "nats://hunter2@",
    "nats://user:hun#hunter2@h:4222",
    "nats://user:hun/hunter2@h:4222",
    "nats://user:hunter2@h:port",
    "nats://user:hunter2@[::1",
    "nats://h:4222,user:hunter2@h",
    "ws://user:hunter2@h",
]


@pytest.mark.parametrize("uri", _URIS_WITH_A_SECRET)
@pytest.mark.parametrize(
    "setting", ["MONGO_URI", "NATS_SERVER_URL", "MONGO_URI_FILE", "NATS_SERVER_URL_FILE"]
)
def test_no_secret_stands_in_an_error(tmp_path: Path, setting: str, uri: str) -> None:
    """A wrong URI is not repeated, in the message or in a traceback, from whatever source."""
    environ = dict(_ENOUGH)
    environ.pop(setting.removesuffix("_FILE"), None)
    path = tmp_path / "uri"
    path.write_text(uri)
    environ[setting] = str(path) if setting.endswith("_FILE") else uri
    with pytest.raises(ConfigError) as caught:
        load_settings(environ)
    assert caught.value.setting == setting.removesuffix("_FILE")
    assert _PART not in "".join(traceback.format_exception(caught.value))
    assert caught.value.__context__ is None


@pytest.mark.parametrize(
    "setting",
    ["MONGO_WATCH_COLLECTIONS", "NATS_STREAM_NAME", "HTTP_PORT", "MNC_CONFIG", "MONGO_URI_FILE"],
)
def test_a_uri_in_the_wrong_variable_is_masked(setting: str) -> None:
    """A URI that was put into a variable that is no secret is shown without its credentials."""
    with pytest.raises(ConfigError) as caught:
        load_settings({setting: f"mongodb://u:hunter2{'x' * 99}@h/db$*"})
    assert caught.value.setting in (setting, "MONGO_URI")
    assert _PART not in str(caught.value)


_CHARACTERS = st.text(st.characters(codec="ascii", categories=["L", "N", "P"]))


@given(before=_CHARACTERS, after=_CHARACTERS)
def test_settings_never_show_a_secret(before: str, after: str) -> None:
    """Whatever the password, neither the settings' text forms nor an error has a part of it."""
    # The part in the middle is in no setting's name, as any text that is drawn might be.
    environ = {
        "MONGO_URI": f"mongodb://user:{before}{_PART}{after}@h/db",
        "MONGO_WATCH_COLLECTIONS": "users",
        "NATS_SERVER_URL": f"nats://user:{before}{_PART}{after}@h",
    }
    try:
        settings = load_settings(environ)
    except ConfigError as error:
        shown = "".join(traceback.format_exception(error))
    else:
        shown = f"{settings} {settings!r} {settings.model_dump()} {settings.model_dump_json()}"
    assert _PART not in shown


def test_settings_are_frozen() -> None:
    """What was checked at the edge stays as it was checked."""
    settings = load_settings(_ENOUGH)
    with pytest.raises(ValueError, match="frozen"):
        settings.http_port = 1


def test_a_misspelt_variable_is_noticed() -> None:
    """A variable close to a setting's name, with a prefix of ours, is reported with that name."""
    assert near_misses(
        {"MONGO_WATCH_COLLECTION": "x", "NATS_STREAM": "x", "MONGO_URL": "x", "LANG": "C"}
    ) == {
        "MONGO_URL": "MONGO_URI",
        "MONGO_WATCH_COLLECTION": "MONGO_WATCH_COLLECTIONS",
        "NATS_STREAM": "NATS_STREAM_NAME",
    }


@pytest.mark.parametrize(
    "environ",
    [
        {},
        _ENOUGH,
        {"MONGO_URI_FILE": "x", "MNC_CONFIG": "x"},
        {"HTTP_PROXY": "x", "NATS_PORT": "x", "MNC_VENV": "x"},
        {"NATS_STREAM_NAME": "x", "NATS_STREAM": "x"},
    ],
)
def test_other_variables_are_no_near_misses(environ: dict[str, str]) -> None:
    """Settings, and variables that only share a prefix are left alone."""
    assert near_misses(environ) == {}


def test_settings_is_the_type_that_is_returned() -> None:
    """`load_settings` returns the model itself, which other modules take as an argument."""
    assert type(load_settings(_ENOUGH)) is Settings


def _in_force(environ: dict[str, str]) -> dict[str, SettingInForce]:
    return {setting.name: setting for setting in settings_in_force(environ)}


def test_each_setting_in_force_says_where_it_came_from(tmp_path: Path) -> None:
    """The environment, a file of a secret, the TOML file and the default are told apart."""
    toml, secret = tmp_path / "mnc.toml", tmp_path / "uri"
    toml.write_text('nats_stream_name = "file"\nhttp_port = 1\nmongo_watch_collections = ["a"]')
    secret.write_text("mongodb://u:p@h/shop?x=y")
    found = _in_force(
        {"MNC_CONFIG": str(toml), "MONGO_URI_FILE": str(secret), "HTTP_PORT": "2", "LOG_LEVEL": ""}
    )
    assert found["MONGO_URI"] == SettingInForce(
        name="MONGO_URI",
        value="mongodb://***@h/shop?***",
        source="secret file",
        path=str(secret),
    )
    assert found["NATS_STREAM_NAME"] == SettingInForce(
        name="NATS_STREAM_NAME", value="file", source="TOML file", path=str(toml)
    )
    assert found["HTTP_PORT"] == SettingInForce(
        name="HTTP_PORT", value="2", source="environment", path=None
    )
    assert found["LOG_LEVEL"] == SettingInForce(
        name="LOG_LEVEL", value="info", source="default", path=None
    )


def test_every_setting_in_force_is_written_as_a_user_would() -> None:
    """Each setting has its row; what is shown of a default is what the documentation says."""
    found = _in_force(_ENOUGH | {"PUBLISH_MAX_INFLIGHT_BYTES": "64MB", "NATS_TOKEN": "hush://hush"})
    assert found.keys() == {row.name for row in setting_rows()}
    assert found["PUBLISH_MAX_INFLIGHT_BYTES"].value == "64000000"
    assert found["NATS_TOKEN"].value == "***"
    for row in setting_rows():
        if found[row.name].source == "default":
            assert (found[row.name].value or "unset") == row.default


def test_wrong_settings_are_not_in_force() -> None:
    """What `load_settings` refuses is refused, with the same words."""
    with pytest.raises(ConfigError) as caught:
        settings_in_force(_ENOUGH | {"HTTP_PORT": "eighty"})
    assert str(caught.value) == _problem(HTTP_PORT="eighty")


@pytest.mark.parametrize("watched", ["shop.tokens", "users,tokens", "crm.a,shop.tokens"])
def test_the_token_collection_is_not_watched(watched: str) -> None:
    """However it is written: each token written would be an event, whose token would be written."""
    environ = {
        "MONGO_URI": "mongodb://127.0.0.1/shop",
        "MONGO_WATCH_COLLECTIONS": watched,
        "MONGO_RESUME_TOKENS_COLLECTION": "tokens",
    }
    with pytest.raises(ConfigError, match="it is among MONGO_WATCH_COLLECTIONS"):
        load_settings(environ)
    load_settings({**environ, "MONGO_WATCH_COLLECTIONS": "crm.tokens"})
