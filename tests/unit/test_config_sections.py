"""A TOML file's sections say what differs for some collections."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from mnc.config import load_settings, settings_in_force
from mnc.errors import ConfigError
from mnc.model import Namespace

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

_ENOUGH = {
    "MONGO_URI": "mongodb://127.0.0.1:27017/shop",
    "MONGO_WATCH_COLLECTIONS": "users,orders_*",
}
_SECTIONS = """
mongo_watch_operations = ["insert", "update"]
mongo_full_document = "off"
mongo_exclude_fields = ["ssn"]
mongo_mask_fields = ["email:redact"]
mongo_pipeline = '[{"$unset": "fullDocument.a"}]'

[[collections]]
match = ["orders_*", "!orders_old"]
mongo_watch_operations = "insert,delete"
nats_oversize = "DeadLetter"
nats_subject = "{stream}.{collection}.{operation}.all"
mongo_exclude_fields = ["email", "card.number"]
mongo_mask_fields = []
mongo_pipeline = "[]"

[[collections]]
match = "orders_1, orders_old"
mongo_full_document = "whenAvailable"
mongo_full_document_before_change = "required"
publish_on_poison = "stop"
mongo_mask_fields = "phone:redact"
mongo_pipeline = '''
[{"$match": {"fullDocument.status": "paid"}}]
'''
"""


@pytest.fixture
def toml(tmp_path: Path) -> Callable[[str], dict[str, str]]:
    """Return a function that makes a TOML file and returns an environment that names it."""

    def make(text: str) -> dict[str, str]:
        path = tmp_path / "mnc.toml"
        path.write_text(text)
        return {**_ENOUGH, "MNC_CONFIG": str(path)}

    return make


def test_a_section_matches_collections_of_any_database(
    toml: Callable[[str], dict[str, str]],
) -> None:
    """A section is for the collections that MONGO_WATCH_COLLECTIONS would take with its entries."""
    section = '[[collections]]\nmatch = ["crm.*", "shop.orders", "a"]\nnats_oversize = "stop"'
    settings = load_settings(toml(section))
    keys = ("a", "orders", "crm.a", "crm.a.b", "users", "shop.a.b", "hr.a")
    assert [key for key in keys if settings.policy(key).oversize == "stop"] == list(keys[:4])


def test_the_first_section_that_matches_counts(toml: Callable[[str], dict[str, str]]) -> None:
    """A collection has what its section sets, and for the rest what all have; no other section."""
    settings = load_settings(toml(_SECTIONS))
    plain = settings.policy("users")
    assert plain.operations == {"insert", "update"}
    assert (plain.full_document, plain.before_change) == ("off", "off")
    assert (plain.excluded, plain.masks) == (("ssn",), ("email:redact",))
    assert plain.pipeline == '[{"$unset":"fullDocument.a"}]'
    assert plain.stream == "cs"
    assert (plain.on_poison, plain.oversize) == ("deadletter", "objectstore")
    first = settings.policy("orders_1")
    assert first == replace(
        plain,
        operations=frozenset({"insert", "delete"}),
        oversize="deadletter",
        excluded=("email", "card.number"),
        masks=(),
        pipeline="[]",
        subject="{stream}.{collection}.{operation}.all",
    )
    second = settings.policy("orders_old")
    assert second == replace(
        plain,
        full_document="whenAvailable",
        before_change="required",
        masks=("phone:redact",),
        pipeline='[{"$match":{"fullDocument.status":"paid"}}]',
        on_poison="stop",
    )
    assert set(settings.policies) == {plain, first, second}


def test_a_section_may_have_a_stream_of_its_own(
    toml: Callable[[str], dict[str, str]],
) -> None:
    """Its collections go there, all else by NATS_STREAM_NAME, and both are known by name."""
    sections = (
        '[[collections]]\nmatch = "payments"\nnats_stream_name = "cs"\n'
        '[[collections]]\nmatch = ["*", "crm.*"]\nnats_stream_name = "rest"\n'
    )
    settings = load_settings(toml(sections) | {"MONGO_WATCH_COLLECTIONS": "*,crm.*,hr.a"})
    assert settings.streams == ("cs", "rest")
    found = {
        name: settings.stream_of(Namespace.of(name, home="shop"))
        for name in ("payments", "users", "crm.users", "hr.a", "")
    }
    # What looks for collections has no collection's name.
    assert found == {
        "payments": "cs",
        "users": "rest",
        "crm.users": "rest",
        "hr.a": "cs",
        "": "cs",
    }


def test_without_sections_all_collections_are_alike() -> None:
    """Without a TOML file there is one policy."""
    settings = load_settings(_ENOUGH)
    assert set(settings.policies) == {settings.policy("users")}


def test_the_environment_is_in_force_for_what_sections_leave(
    toml: Callable[[str], dict[str, str]],
) -> None:
    """A variable replaces what the file says of all collections, and not what a section says."""
    environ = toml(_SECTIONS) | {"MONGO_WATCH_OPERATIONS": "replace", "COLLECTIONS": "x"}
    settings = load_settings(environ)
    assert settings.policy("users").operations == {"replace"}
    assert settings.policy("orders_1").operations == {"insert", "delete"}


def test_sections_are_among_the_settings_in_force(
    toml: Callable[[str], dict[str, str]],
) -> None:
    """What a section sets is shown with its number, its key and the file."""
    found = {each.name: each for each in settings_in_force(toml(_SECTIONS))}
    shown = {name: each.value for name, each in found.items() if name.startswith("collections[")}
    assert shown == {
        "collections[0].match": "orders_*,!orders_old",
        "collections[0].mongo_watch_operations": "insert,delete",
        "collections[0].mongo_exclude_fields": "email,card.number",
        "collections[0].mongo_mask_fields": None,
        "collections[0].mongo_pipeline": "[]",
        "collections[0].nats_oversize": "deadletter",
        "collections[0].nats_subject": "{stream}.{collection}.{operation}.all",
        "collections[1].match": "orders_1,orders_old",
        "collections[1].mongo_full_document": "whenAvailable",
        "collections[1].mongo_full_document_before_change": "required",
        "collections[1].mongo_mask_fields": "phone:redact",
        "collections[1].mongo_pipeline": '[{"$match":{"fullDocument.status":"paid"}}]',
        "collections[1].publish_on_poison": "stop",
    }
    assert found["collections[0].match"].source == "TOML file"


@pytest.mark.parametrize(
    ("section", "problem"),
    [
        (
            'match = "a*"\nmongo_watch_operations = ["upsert"]',
            "[[collections]] 2 ('a*'), mongo_watch_operations: found ['upsert'] in {path}; allowed",
        ),
        (
            'match = "a*"\nmongo_watch_operations = "insert,insert"',
            "[[collections]] 2 ('a*'), mongo_watch_operations: found 'insert,insert' in {path}: '",
        ),
        (
            'match = "a*"\nnats_oversise = "stop"',
            "[[collections]] 2 ('a*'), nats_oversise: in '{path}', 'nats_oversise' is not a ",
        ),
        (
            'match = "a*"\nhttp_port = 1',
            "[[collections]] 2 ('a*'), http_port: in '{path}', 'http_port' is not a setting",
        ),
        (
            'nats_oversize = "stop"',
            "[[collections]] 2 (None), match: is not set; allowed: names, globs",
        ),
        ('match = []\nnats_oversize = "stop"', "[[collections]] 2 ([]), match: found [] in {path}"),
        ('match = "!a"', "[[collections]] 2 ('!a'), match: found '!a' in {path}: nothing is left"),
        (
            'match = "a"\nnats_stream_name = "a.b"',
            "[[collections]] 2 ('a'), nats_stream_name: found 'a.b' in {path}: it is empty or has",
        ),
        (
            'match = "a"\nnats_stream_name = "OBJ_cs_payloads"',
            "[[collections]] 2 ('a'), nats_stream_name: found 'OBJ_cs_payloads' in {path}: streams",
        ),
        ('match = "a$b"', "[[collections]] 2 ('a$b'), match: found 'a$b' in {path}: 'a$b' is not"),
    ],
)
def test_a_wrong_section_is_explained(
    toml: Callable[[str], dict[str, str]], section: str, problem: str
) -> None:
    """The error names the section, its key, the file, what was found and what is allowed."""
    environ = toml(f'[[collections]]\nmatch = "b"\n\n[[collections]]\n{section}\n')
    with pytest.raises(ConfigError) as caught:
        load_settings(environ)
    expected = problem.format(path=environ["MNC_CONFIG"])
    assert str(caught.value).startswith(expected), str(caught.value)


@pytest.mark.parametrize(
    ("section", "problem"),
    [
        ('mongo_exclude_fields = "a..b"', "mongo_exclude_fields: found 'a..b' in {path}: 'a..b' h"),
        (
            'mongo_mask_fields = "a"',
            "mongo_mask_fields: found 'a' in {path}: 'a' doesn't end with ",
        ),
        (
            'mongo_mask_fields = ["a:hash"]',
            "mongo_mask_fields: found ['a:hash'] in {path}: hashing needs MONGO_MASK_KEY; allo",
        ),
        (
            'mongo_mask_fields = "ssn.last:redact"',
            "mongo_mask_fields: found 'ssn.last:redact' in {path}: 'ssn.last' is covered by 'ssn'",
        ),
        (
            'mongo_exclude_fields = "email"',
            "mongo_exclude_fields: found 'email' in {path}: 'email' is covered by 'email' already",
        ),
        (
            'mongo_exclude_fields = "a"\nmongo_mask_fields = "a.b:redact"',
            "mongo_mask_fields: found 'a.b:redact' in {path}: 'a.b' is covered by 'a' already; all",
        ),
    ],
)
def test_what_a_section_hides_has_to_be_clear(
    toml: Callable[[str], dict[str, str]], section: str, problem: str
) -> None:
    """Together with what it leaves as it is for all, no field is meant twice."""
    environ = toml(
        'mongo_exclude_fields = "ssn"\nmongo_mask_fields = "email:redact"\n'
        f'[[collections]]\nmatch = "b"\n[[collections]]\nmatch = "a"\n{section}\n'
    )
    with pytest.raises(ConfigError) as caught:
        load_settings(environ)
    expected = "[[collections]] 2 ('a'), " + problem.format(path=environ["MNC_CONFIG"])
    assert str(caught.value).startswith(expected), str(caught.value)


@pytest.mark.parametrize(
    ("pipeline", "problem"),
    [
        ("[5]", "found '[5]' in {path}: stage 1 has to be an object with one name"),
        ('[{"$out": "a"}]', 'found \'[{{"$out": "a"}}]\' in {path}: stage 1: $out is not a'),
    ],
)
def test_a_sections_pipeline_is_checked(
    toml: Callable[[str], dict[str, str]], pipeline: str, problem: str
) -> None:
    """It may say what the setting may."""
    section = "[[collections]]\nmatch = 'a'\nmongo_pipeline = "
    with pytest.raises(ConfigError) as caught:
        load_settings(environ := toml(f"{section}'{pipeline}'\n"))
    expected = "[[collections]] 1 ('a'), mongo_pipeline: "
    expected += problem.format(path=environ["MNC_CONFIG"])
    assert str(caught.value).startswith(expected), str(caught.value)


@pytest.mark.parametrize("text", ["collections = 5", 'collections = ["a"]', "[collections]"])
def test_sections_have_to_be_sections(toml: Callable[[str], dict[str, str]], text: str) -> None:
    """A key `collections` that is no array of tables is a wrong setting, and no traceback."""
    with pytest.raises(ConfigError) as caught:
        load_settings(toml(text))
    assert str(caught.value).startswith("[[collections]]: found ")
