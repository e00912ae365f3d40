"""What the facts about NATS mean."""

from __future__ import annotations

from dataclasses import replace

import pytest
from tests.unit.preflight.facts import GOOD_ACCOUNT, GOOD_NATS, GOOD_STREAM

from mnc.config import OversizePolicy
from mnc.errors import SinkRefusedError, SinkUnavailableError
from mnc.preflight.facts import NatsFacts
from mnc.preflight.finding import Finding
from mnc.preflight.nats import nats_findings

_MIB = 1024 * 1024


def _finding(facts: NatsFacts, check: str, *, oversize: OversizePolicy = "objectstore") -> Finding:
    findings = nats_findings([facts], require_fencing=False, oversizes={"cs": {oversize}})
    (finding,) = [finding for finding in findings if finding.check == check]
    return finding


def test_good_facts_are_all_ok() -> None:
    """Nothing is to be done about a stream that is well, and each check is made once."""
    findings = nats_findings([GOOD_NATS], require_fencing=False, oversizes={"cs": {"stop"}})
    assert {finding.level for finding in findings} == {"ok"}
    assert {finding.remedy for finding in findings} == {""}
    assert {finding.area for finding in findings} == {"NATS"}
    assert [finding.check for finding in findings] == [
        "reachable",
        "version",
        "permissions",
        "JetStream",
        "publishing",
        "stream",
        "subjects",
        "replicas",
        "storage",
        "limits",
        "message size",
        "duplicate window",
        "max_payload",
    ]


def test_several_streams_are_named() -> None:
    """What is of one stream is said of each, by its name; what is of the server is said once."""
    blocked = replace(GOOD_STREAM, obstacle=("is sealed", "take another"), max_message_bytes=_MIB)
    own = replace(GOOD_NATS, stream="own", account=replace(GOOD_ACCOUNT, stream=blocked))
    findings = nats_findings(
        [GOOD_NATS, own],
        require_fencing=False,
        oversizes={"cs": {"objectstore"}, "own": {"objectstore", "stop"}},
    )
    (problem,) = [finding for finding in findings if finding.level == "problem"]
    assert problem.found == "stream own: own is sealed"
    # The riskiest of a stream's policies counts.
    (warning,) = [finding for finding in findings if finding.level == "warning"]
    assert (warning.check, warning.found[:11]) == ("message size", "stream own:")
    named = {it.check for it in findings if it.found.startswith("stream cs: ")}
    assert named == {it.check for it in findings if it.found.startswith("stream own: ")}
    once = [it.check for it in findings if not it.found.startswith("stream ")]
    assert once == ["reachable", "version", "max_payload"]


def test_required_fencing_makes_weaker_publishing_a_problem() -> None:
    """With NATS_REQUIRE_FENCING what `mnc serve` refuses is a problem, with its remedy."""
    refusal = SinkRefusedError("too old", remedy="run a newer one")
    facts = replace(GOOD_NATS, without_batches=refusal)
    findings = nats_findings([facts], require_fencing=True, oversizes={"cs": {"objectstore"}})
    (problem,) = [finding for finding in findings if finding.level == "problem"]
    assert (problem.check, problem.remedy) == ("publishing", "run a newer one")
    assert "NATS_REQUIRE_FENCING" in problem.found


def test_an_unreachable_server_is_one_problem() -> None:
    """Without facts the error's own words and remedy are the only finding."""
    error = SinkUnavailableError("nobody there", remedy="start it")
    (finding,) = nats_findings(error, require_fencing=False, oversizes={"cs": {"objectstore"}})
    assert (finding.level, finding.found, finding.remedy) == ("problem", "nobody there", "start it")


@pytest.mark.parametrize(
    ("changes", "check", "level", "said"),
    [
        ({"version": (2, 12, 0)}, "version", "ok", "2.12.0"),
        (
            {"without_batches": SinkRefusedError("too old", remedy="run a newer one")},
            "publishing",
            "warning",
            "/status",
        ),
        ({"denied": None}, "permissions", "unknown", ""),
        ({"denied": ("cs.users.*.*",)}, "permissions", "problem", "cs.users.*.*"),
        (
            {"account": SinkRefusedError("not enabled", remedy="enable it")},
            "JetStream",
            "problem",
            "not enabled; enable it",
        ),
        ({"max_payload_bytes": _MIB}, "max_payload", "ok", "1 MiB: a larger event"),
        ({"max_payload_bytes": 16 * _MIB}, "max_payload", "ok", "in the object store"),
        ({"max_payload_bytes": 32 * _MIB}, "max_payload", "ok", "32 MiB"),
    ],
)
def test_each_fact_of_the_server_is_judged(
    changes: dict[str, object], check: str, level: str, said: str
) -> None:
    """One changed fact changes its own finding, and says what was found and what to do."""
    facts = replace(GOOD_NATS, **changes)  # type: ignore[arg-type] # a table of any fields
    finding = _finding(facts, check)
    assert finding.level == level
    assert said in f"{finding.found}; {finding.remedy}"


@pytest.mark.parametrize(
    ("oversize", "level", "said"),
    [
        ("objectstore", "ok", "has its payload in the object store"),
        ("deadletter", "warning", "becomes a dead letter"),
        ("stop", "warning", "stops its collection"),
    ],
)
@pytest.mark.parametrize(
    ("check", "cure"), [("max_payload", "max_payload: 64MB"), ("message size", "--max-msg-size=-1")]
)
def test_what_becomes_of_a_large_event_is_what_the_policy_says(
    check: str, cure: str, oversize: OversizePolicy, level: str, said: str
) -> None:
    """An operator isn't warned of what NATS_OVERSIZE prevents, and is told how to prevent it."""
    stream = replace(GOOD_STREAM, max_message_bytes=_MIB)
    account = replace(GOOD_ACCOUNT, stream=stream)
    facts = replace(GOOD_NATS, account=account, max_payload_bytes=_MIB)
    finding = _finding(facts, check, oversize=oversize)
    assert finding.level == level
    assert said in finding.found
    if level == "ok":
        assert finding.remedy == ""
    else:
        assert "NATS_OVERSIZE=objectstore" in finding.remedy
        assert cure in finding.remedy


@pytest.mark.parametrize(
    ("changes", "check", "level", "said"),
    [
        ({"stored_bytes": None}, "JetStream", "ok", "answers"),
        ({"storage_limit_bytes": 4096}, "JetStream", "ok", "2 KiB of 4 KiB"),
        ({"stream": None}, "stream", "ok", "mnc serve will make it"),
        ({"overlapping": None}, "subjects", "unknown", ""),
        ({"overlapping": {"other"}}, "subjects", "problem", "stream other"),
        ({"is_clustered": True}, "replicas", "warning", "--replicas 3"),
        ({"is_clustered": True, "stream": None}, "replicas", "warning", "will be on one server"),
        (
            {"is_clustered": True, "stream": replace(GOOD_STREAM, replicas=3)},
            "replicas",
            "ok",
            "3",
        ),
    ],
)
def test_each_fact_of_the_account_is_judged(
    changes: dict[str, object], check: str, level: str, said: str
) -> None:
    """A stream that isn't there, one that is in the way, and the cluster are told."""
    account = replace(GOOD_ACCOUNT, **changes)  # type: ignore[arg-type] # a table of any fields
    finding = _finding(replace(GOOD_NATS, account=account), check)
    assert finding.level == level
    assert said in f"{finding.found}; {finding.remedy}"


@pytest.mark.parametrize(
    ("changes", "check", "level", "said"),
    [
        ({"lacks": ["allow_atomic"]}, "stream", "ok", "adds to it, if it may: allow_atomic"),
        ({"obstacle": ("is sealed", "take another")}, "stream", "problem", "sealed; take"),
        ({"retention": "workqueue"}, "limits", "warning", "cs.>"),
        ({"storage": "memory"}, "storage", "warning", "memory"),
        ({"max_messages": 10, "discard": "old"}, "limits", "warning", "beyond 10 messages"),
        ({"max_bytes": 2048, "discard": "old"}, "limits", "warning", "beyond 2 KiB"),
        ({"discard": "old"}, "limits", "ok", "no size limit"),
        ({"max_messages": 10}, "limits", "ok", "when it has 10 messages, mnc waits"),
        ({"max_messages_per_subject": 1}, "limits", "warning", "--max-msgs-per-subject"),
        ({"max_age_s": 3600}, "limits", "warning", "60 min"),
        ({"max_age_s": 7 * 86400}, "limits", "ok", "7 days"),
        ({"max_message_bytes": _MIB}, "message size", "ok", "in the object store"),
        ({"max_message_bytes": 64 * _MIB}, "message size", "ok", "64 MiB"),
        ({"duplicate_window_s": 0.1}, "duplicate window", "ok", "100 ms"),
    ],
)
def test_each_fact_of_the_stream_is_judged(
    changes: dict[str, object], check: str, level: str, said: str
) -> None:
    """What an operator chose for the stream is judged, with the command that changes it."""
    stream = replace(GOOD_STREAM, **changes)  # type: ignore[arg-type] # a table of any fields
    account = replace(GOOD_ACCOUNT, stream=stream)
    finding = _finding(replace(GOOD_NATS, account=account), check)
    assert finding.level == level
    assert said in f"{finding.found}; {finding.remedy}"
    assert bool(finding.remedy) == (level != "ok")
