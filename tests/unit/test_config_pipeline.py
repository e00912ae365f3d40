"""The pipeline of the settings: what it may say, and in which form it is kept."""

from __future__ import annotations

import json
from datetime import datetime

import pytest
from bson import Int64, ObjectId

from mnc.config import NO_PIPELINE, load_settings, pipeline_stages
from mnc.config.pipeline import check_pipeline
from mnc.errors import ConfigError

_ENOUGH = {
    "MONGO_URI": "mongodb://127.0.0.1:27017/shop",
    "MONGO_WATCH_COLLECTIONS": "users",
}
_FILTER = '[{"$match": {"fullDocument.status": "paid"}}]'


@pytest.mark.parametrize(
    "stage",
    [
        {"$match": {}},
        {"$match": {"$or": [{"operationType": "delete"}, {"ns.coll": "a", "anything": 1}]}},
        {"$project": {"fullDocument.a": 0, "fullDocumentBeforeChange": False}},
        {"$project": {"fullDocument": {"a": {"b": 0}}, "updateDescription": 0}},
        {"$unset": "fullDocument"},
        {"$unset": ["fullDocument.a.b", "updateDescription", "updateDescription.removedFields"]},
        {"$unset": "updateDescription.updatedFields.a"},
        {"$set": {"fullDocument.a": {"$concat": ["$fullDocument.b", "$ns.coll"]}}},
        {"$addFields": {"fullDocument": {"a": 1}, "updateDescription.updatedFields.a": 2}},
    ],
    ids=json.dumps,
)
def test_documents_may_be_chosen_and_changed(stage: dict[str, object]) -> None:
    """What looks at events, and changes the documents in them alone, is accepted."""
    text = json.dumps([stage])
    assert pipeline_stages(check_pipeline(text)) == [stage]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("{", "it is no Extended JSON: Expecting property name"),
        ("{}", "it is no array"),
        ("[5]", "stage 1 has to be an object with one name, that of the stage"),
        ('[{"$match": {}}, {}]', "stage 2 has to be an object with one name"),
        ('[{"$match": {}, "$unset": "fullDocument"}]', "stage 1 has to be an object with one"),
        ('[{"$match": {"a": 1, "b": 2, "a": 3}}]', "a name stands twice in one object"),
        ('[{"$match": {"a": {"$oid": "1"}}}]', "it is no Extended JSON: '1' is not a valid Obj"),
        ('[{"$match": {"a": 9223372036854775808}}]', "it is no Extended JSON: MongoDB can only"),
        (r'[{"$match": {"a": "\ud800"}}]', "it is no Extended JSON: "),
        (r'[{"$match": {"a\u0000": 1}}]', "it is no Extended JSON: "),
        ("[" * 100_000, "it is nested too deeply"),
        ('[{"$match": "a"}]', "stage 1: $match says nothing that it could do"),
        ('[{"$match": {}}, {"$lookup": {}}]', "stage 2: $lookup is not allowed"),
        ('[{"$group": {"_id": 1}}]', "stage 1: $group is not allowed"),
        (
            '[{"$replaceRoot": {"newRoot": "$fullDocument"}}]',
            "stage 1: $replaceRoot is not allowed",
        ),
        ('[{"$project": {"fullDocument": 1}}]', "stage 1: 'fullDocument': 0 alone is allowed"),
        ('[{"$project": {"fullDocument": {"a": "$b"}}}]', "'fullDocument.a': 0 alone is allowed"),
        ('[{"$project": {"fullDocument": {}}}]', "'fullDocument': 0 alone is allowed"),
        ('[{"$project": {}}]', "stage 1: $project says nothing"),
        ('[{"$project": {"_id": 0}}]', "stage 1: '_id' may not be changed"),
        ('[{"$unset": []}]', "stage 1: $unset says nothing"),
        ('[{"$unset": ["fullDocument", 5]}]', "stage 1: 5 may not be changed"),
        ('[{"$unset": "documentKey"}]', "stage 1: 'documentKey' may not be changed"),
        ('[{"$unset": "fullDocumentX"}]', "stage 1: 'fullDocumentX' may not be changed"),
        ('[{"$unset": "updateDescription.truncatedArrays.field"}]', "field' may not be changed"),
        ('[{"$set": {}}]', "stage 1: $set says nothing"),
        ('[{"$set": {"operationType": "insert"}}]', "stage 1: 'operationType' may not be changed"),
        ('[{"$set": {"updateDescription.removedFields": 1}}]', "removedFields' may not be changed"),
        ('[{"$addFields": {"updateDescription": 1}}]', "'updateDescription' may not be changed"),
        ('[{"$addFields": {"clusterTime": 1}}]', "'clusterTime' may not be changed"),
    ],
    ids=lambda text: text[:40],
)
def test_what_the_connector_can_not_do_with_ends_the_start(text: str, problem: str) -> None:
    """What would take from events what subjects and order are made of is refused, by its stage."""
    with pytest.raises(ConfigError) as caught:
        load_settings({**_ENOUGH, "MONGO_PIPELINE": text})
    assert caught.value.setting == "MONGO_PIPELINE"
    assert problem in str(caught.value)
    assert str(caught.value).endswith(
        "allowed: a JSON array of the stages $match, $project (to "
        "leave fields out), $unset, $addFields and $set"
    )


def test_all_texts_of_a_pipeline_have_one_form() -> None:
    """White space doesn't make another pipeline, which would cost a change stream."""
    spacious = _FILTER.replace(" ", "\n    ")
    found = {check_pipeline(text) for text in (_FILTER, spacious)}
    assert found == {'[{"$match":{"fullDocument.status":"paid"}}]'}
    assert check_pipeline(" [ ] ") == NO_PIPELINE == load_settings(_ENOUGH).mongo_pipeline


def test_extended_json_is_read() -> None:
    """Types that JSON doesn't have can be compared with, and `$regex` stays a condition."""
    text = check_pipeline(
        json.dumps(
            [
                {
                    "$match": {
                        "fullDocument.owner": {"$oid": "0123456789abcdef01234567"},
                        "fullDocument.at": {"$gt": {"$date": "2024-01-01T00:00:00Z"}},
                        "fullDocument.n": {"$numberLong": "5"},
                        "fullDocument.name": {"$regex": "^a", "$options": "i", "$ne": "ab"},
                    }
                }
            ]
        )
    )
    (stage,) = pipeline_stages(text)
    assert stage == {
        "$match": {
            "fullDocument.owner": ObjectId("0123456789abcdef01234567"),
            "fullDocument.at": {"$gt": datetime(2024, 1, 1)},  # noqa: DTZ001 - as bson has it
            "fullDocument.n": Int64(5),
            "fullDocument.name": {"$regex": "^a", "$options": "i", "$ne": "ab"},
        }
    }
