"""The schema for editors knows what a TOML file may have."""

from __future__ import annotations

import json
import os

import pytest
from jsonschema import Draft202012Validator, ValidationError

from mnc.cli import run
from mnc.config import Settings, setting_rows, toml_schema

_GOOD: dict[str, object] = {
    "mongo_uri": "mongodb://127.0.0.1/shop",
    "mongo_watch_collections": ["orders_*", "!orders_old"],
    "mongo_watch_operations": "insert,delete",
    "publish_max_inflight_bytes": "64MiB",
    "raft_cluster_size": 1,
    "nats_require_fencing": True,
    "collections": [
        {"match": "orders_*", "mongo_watch_operations": ["insert"], "nats_oversize": "stop"},
        {"match": ["a", "b"], "mongo_full_document": "off", "mongo_exclude_fields": "x,y.z"},
        {"match": "c", "mongo_pipeline": '[{"$unset": "fullDocument.a"}]'},
    ],
}


def test_the_schema_is_one() -> None:
    """It is a schema of the draft that it names, with a description of each setting."""
    schema = toml_schema()
    Draft202012Validator.check_schema(schema)
    properties = schema["properties"]
    assert isinstance(properties, dict)
    assert properties.keys() == {"collections", *(row.field for row in setting_rows())}
    for row in setting_rows():
        assert properties[row.field]["description"] == row.description


def test_what_is_accepted_is_valid() -> None:
    """A file that mnc accepts has nothing underlined, and one that says nothing neither."""
    Settings.model_validate(_GOOD)
    Draft202012Validator(toml_schema()).validate(_GOOD)
    Draft202012Validator(toml_schema()).validate({})


@pytest.mark.parametrize(
    "change",
    [
        {"mongo_watch_collection": "users"},
        {"raft_cluster_size": 10},
        {"mongo_watch_operations": ["upsert"]},
        {"collections": [{}]},
        {"collections": [{"match": "a", "nats_oversise": "stop"}]},
        {"collections": [{"match": "a", "nats_oversize": "shrink"}]},
        {"collections": [{"match": "a", "mongo_mask_fields": 5}]},
        {"collections": [{"match": "a", "mongo_pipeline": [{"$unset": "fullDocument.a"}]}]},
        {"collections": {"match": "a"}},
    ],
    ids=str,
)
def test_what_is_refused_is_not_valid(change: dict[str, object]) -> None:
    """A misspelt key and a value that mnc refuses are underlined, in sections too."""
    with pytest.raises(ValidationError):
        Draft202012Validator(toml_schema()).validate(_GOOD | change)


def test_config_prints_the_schema_without_settings(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """`mnc config --schema` needs no setting and prints the schema."""
    for name in os.environ:
        monkeypatch.delenv(name)
    assert run(["config", "--schema"]) == 0
    assert json.loads(capsys.readouterr().out) == toml_schema()
