"""What the facts about MongoDB mean."""

from __future__ import annotations

from dataclasses import replace

import pytest
from tests.unit.preflight.facts import GOOD_MONGO, GOOD_OPLOG, NOW

from mnc.errors import CheckpointRefusedError, SourceRefusedError, SourceUnavailableError
from mnc.model import ClusterTime
from mnc.preflight.facts import Privilege
from mnc.preflight.mongo import mongo_findings

_YOUNG = ClusterTime(NOW.seconds - 3600, 1)


def _privilege(*actions: str, database: str = "shop", collection: str = "") -> Privilege:
    return Privilege(database=database, collection=collection, actions=frozenset(actions))


def test_good_facts_are_all_ok() -> None:
    """Nothing is to be done about a replica set that is well, and each check is made once."""
    findings = mongo_findings(GOOD_MONGO)
    assert {finding.level for finding in findings} == {"ok"}
    assert {finding.remedy for finding in findings} == {""}
    assert {finding.area for finding in findings} == {"MongoDB"}
    assert [finding.check for finding in findings] == [
        "reachable",
        "version",
        "topology",
        "majority",
        "change stream",
        "resume tokens",
        "oplog",
        "collections",
        "clock",
    ]


def test_an_unreachable_server_is_one_problem() -> None:
    """Without facts the error's own words and remedy are the only finding."""
    (finding,) = mongo_findings(SourceUnavailableError("nobody there", remedy="start it"))
    assert (finding.level, finding.found, finding.remedy) == ("problem", "nobody there", "start it")


@pytest.mark.parametrize(
    ("changes", "check", "level", "said"),
    [
        ({"version": (6, 0, 0)}, "version", "ok", "6.0.0"),
        ({"version": (5, 0, 26)}, "version", "warning", "5.0.26"),
        ({"topology": "standalone"}, "topology", "problem", "rs.initiate()"),
        ({"topology": "sharded cluster"}, "topology", "warning", "sharded"),
        ({"is_writable": False}, "topology", "problem", "directConnection"),
        ({"members": None, "write_majority": 0}, "majority", "ok", "confirmed"),
        ({"members": {"a:1": "PRIMARY", "b:1": "ARBITER"}}, "majority", "problem", "1 of the 2"),
        (
            {"members": {"a:1": "PRIMARY", "b:1": "SECONDARY", "c:1": "(not reachable/healthy)"}},
            "majority",
            "warning",
            "c:1",
        ),
        ({"majority_lag_s": 10}, "majority", "ok", ""),
        ({"majority_lag_s": 16}, "majority", "problem", "16 s"),
        ({"majority_lag_s": None}, "majority", "ok", ""),
        (
            {"stream_errors": {"shop": SourceRefusedError("not yours", remedy="ask for it")}},
            "change stream",
            "problem",
            "on database shop: not yours; ask for it",
        ),
        (
            {"checkpoints": CheckpointRefusedError("not yours", remedy="ask for it")},
            "resume tokens",
            "problem",
            "not yours; ask for it",
        ),
        ({"oplog": None}, "oplog", "unknown", "read"),
        ({"oplog": replace(GOOD_OPLOG, first=_YOUNG)}, "oplog", "warning", "60 min"),
        ({"oplog": replace(GOOD_OPLOG, first=_YOUNG, used_bytes=899)}, "oplog", "ok", "not full"),
        ({"kinds": None}, "collections", "unknown", ""),
        ({"watched": [], "kinds": {}}, "collections", "ok", "none in database shop yet"),
        ({"kinds": {"users": "collection"}}, "collections", "warning", "movies"),
        ({"kinds": {"users": "view", "movies": "collection"}}, "collections", "problem", "a view"),
        (
            {"databases": ["shop", "crm"], "watched": ["users", "crm.leads"]},
            "collections",
            "warning",
            "not in databases shop, crm yet: crm.leads",
        ),
        ({"databases": ["shop", "crm"]}, "other databases", "ok", "crm"),
        (
            {"databases": ["shop", "orders"], "missing_databases": ["orders", "shop"]},
            "other databases",
            "warning",
            "orders: not there yet; ",
        ),
        (
            {"databases": ["shop", "orders"], "missing_databases": ["orders"]},
            "other databases",
            "warning",
            "shop.orders.NAME",
        ),
        ({"clock_ahead_s": 1.0}, "clock", "ok", ""),
        ({"clock_ahead_s": 3.0}, "clock", "warning", "3 s ahead"),
        ({"clock_ahead_s": -3.0}, "clock", "warning", "3 s behind"),
        ({"clock_ahead_s": 3.0, "round_trip_s": 4.0}, "clock", "ok", ""),
    ],
)
def test_each_fact_is_judged(changes: dict[str, object], check: str, level: str, said: str) -> None:
    """One changed fact changes its own finding, and says what was found and what to do."""
    facts = replace(GOOD_MONGO, **changes)  # type: ignore[arg-type] # a table of any fields
    (finding,) = [finding for finding in mongo_findings(facts) if finding.check == check]
    assert finding.level == level
    assert said in f"{finding.found}; {finding.remedy}"
    assert bool(finding.remedy) == (level in {"warning", "problem"}) or level == "unknown"


@pytest.mark.parametrize(
    ("privileges", "lacking"),
    [
        ([], "find and insert and update"),
        ([_privilege("find", "insert", "update")], None),
        ([_privilege("find", "insert", "update", collection="tokens")], None),
        ([_privilege("find"), _privilege("insert", "update", collection="tokens")], None),
        ([_privilege("find", "insert", "update", database="")], None),
        ([_privilege("find")], "insert and update"),
        ([_privilege("find", "insert", "update", collection="users")], "find"),
        ([_privilege("find", "insert", "update", database="other")], "find"),
    ],
)
def test_privileges_add_up(privileges: list[Privilege], lacking: str | None) -> None:
    """What is missing on the token collection is what no privilege grants there."""
    findings = mongo_findings(replace(GOOD_MONGO, privileges=privileges))
    (finding,) = [finding for finding in findings if finding.check == "resume tokens"]
    assert finding.level == ("ok" if lacking is None else "problem")
    assert lacking is None or f"lacks {lacking}" in finding.found


def test_a_standalone_server_is_one_problem() -> None:
    """What a standalone server can't have is not told again with each check."""
    facts = replace(
        GOOD_MONGO,
        topology="standalone",
        stream_errors={"shop": SourceRefusedError("standalone")},
        oplog=None,
    )
    problems = [finding.check for finding in mongo_findings(facts) if finding.level != "ok"]
    assert problems == ["topology"]
