"""What the facts about MongoDB mean for the connector. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial

from mnc.errors import CheckpointError, SourceError
from mnc.preflight.facts import MongoFacts, OplogFacts, Privilege
from mnc.preflight.finding import Finding
from mnc.preflight.quantities import bytes_text, duration_text, version_text

__all__ = ["mongo_findings"]

_TESTED_VERSION = (6, 0)
"""The oldest version that the tests run on. The client library speaks to 4.4 as well."""

_TOKEN_ACTIONS = ("find", "insert", "update")
_UP = {"PRIMARY", "SECONDARY", "ARBITER"}
_WITH_DATA = {"PRIMARY", "SECONDARY"}

_MAJORITY_LAG_MAX_S = 15.0
"""An idle primary writes every ten seconds, so a majority that works is never further behind."""

_OPLOG_MIN_S = 24 * 3600.0
"""The longest outage of the connector or the broker that someone repairs the next morning."""

_OPLOG_FULL = 0.9
"""Filled this far, an oplog is about to drop entries, and its window says how long they stay."""

_CLOCK_MAX_S = 1.0
"""From here on the measured lag says more about the clocks than about the connector."""

_finding = partial(Finding, area="MongoDB")


def mongo_findings(facts: MongoFacts | SourceError) -> list[Finding]:
    """Judge the facts, or the error that kept them from being collected."""
    if isinstance(facts, SourceError):
        return [
            _finding(check="reachable", level="problem", found=facts.message, remedy=facts.remedy)
        ]
    return list(_judge(facts))


def _judge(facts: MongoFacts) -> Iterator[Finding]:
    answers = f"{facts.address} answers in {duration_text(facts.round_trip_s)}"
    yield _finding(check="reachable", level="ok", found=answers)
    yield _version(facts.version)
    yield _topology(facts)
    if facts.topology == "replica set":
        yield _majority(facts)
    if facts.topology != "standalone":
        yield _change_stream(facts)
        yield _tokens(facts)
        yield _oplog(facts.oplog)
    others = [name for name in facts.databases if name != facts.database]
    if others:
        yield _others(others, facts)
    yield _collections(facts)
    yield _clock(facts)


def _version(version: tuple[int, ...]) -> Finding:
    found = version_text(version)
    if version < _TESTED_VERSION:
        return _finding(
            check="version",
            level="warning",
            found=f"{found} is older than what mnc is tested with",
            remedy=f"run MongoDB {version_text(_TESTED_VERSION)} or newer",
        )
    return _finding(check="version", level="ok", found=found)


def _topology(facts: MongoFacts) -> Finding:
    match facts.topology:
        case "standalone":
            return _finding(
                check="topology",
                level="problem",
                found="a standalone server, which has no change streams",
                remedy="start mongod with --replSet and call rs.initiate() in mongosh; one member "
                "is enough",
            )
        case "sharded cluster":
            return _finding(
                check="topology",
                level="warning",
                found="a sharded cluster; mnc is tested with replica sets alone",
                remedy="try it with your own data before you rely on it",
            )
        case "replica set" if not facts.is_writable:
            return _finding(
                check="topology",
                level="problem",
                found=f"a member of the replica set {facts.set_name} that is not its primary",
                remedy="remove directConnection from MONGO_URI, or name the primary",
            )
        case "replica set":
            return _finding(
                check="topology", level="ok", found=f"the primary of replica set {facts.set_name}"
            )


def _majority(facts: MongoFacts) -> Finding:
    finding = partial(_finding, check="majority")
    members = facts.members or {}
    down = sorted(name for name, state in members.items() if state not in _UP)
    with_data = sum(state in _WITH_DATA for state in members.values())
    if with_data < facts.write_majority:
        return finding(
            level="problem",
            found=f"{with_data} of the {facts.write_majority} members that have to confirm a write "
            "are up",
            remedy=f"bring these back: {', '.join(down)}; events wait until a majority has them",
        )
    if facts.majority_lag_s is not None and facts.majority_lag_s > _MAJORITY_LAG_MAX_S:
        return finding(
            level="problem",
            found=f"is {duration_text(facts.majority_lag_s)} behind the last write",
            remedy="look at rs.status() for members that are down or behind; events wait until a "
            "majority has them",
        )
    if down:
        return finding(
            level="warning",
            found=f"is up, but {', '.join(down)} is not",
            remedy="bring it back: the next failure may stop all writes",
        )
    return finding(level="ok", found="has confirmed the last write")


def _change_stream(facts: MongoFacts) -> Finding:
    for database, error in facts.stream_errors.items():
        return _finding(
            check="change stream",
            level="problem",
            found=f"on database {database}: {error.message}",
            remedy=error.remedy,
        )
    return _finding(check="change stream", level="ok", found=f"can be opened on {_where(facts)}")


def _tokens(facts: MongoFacts) -> Finding:
    finding = partial(_finding, check="resume tokens")
    name = f"{facts.database}.{facts.tokens_collection}"
    if isinstance(facts.checkpoints, CheckpointError):
        return finding(
            level="problem", found=facts.checkpoints.message, remedy=facts.checkpoints.remedy
        )
    if facts.privileges is None:
        # Reading them needed no login, so writing needs none either.
        return finding(level="ok", found=f"{name} can be read and written: no login is needed")
    missing = _missing_actions(
        facts.privileges, database=facts.database, collection=facts.tokens_collection
    )
    if missing:
        return finding(
            level="problem",
            found=f"the user in MONGO_URI lacks {' and '.join(missing)} on {name}",
            remedy=f"grant them, or the role readWrite on {facts.database}; "
            "MONGO_RESUME_TOKENS_COLLECTION names the collection",
        )
    return finding(level="ok", found=f"{name} can be read and written")


def _missing_actions(
    privileges: Sequence[Privilege], *, database: str, collection: str
) -> list[str]:
    granted = frozenset[str]().union(
        *(
            privilege.actions
            for privilege in privileges
            if privilege.database in {"", database} and privilege.collection in {"", collection}
        )
    )
    return [action for action in _TOKEN_ACTIONS if action not in granted]


def _oplog(oplog: OplogFacts | None) -> Finding:
    finding = partial(_finding, check="oplog")
    if oplog is None:
        return finding(
            level="unknown",
            found="this user may not read how far it reaches back",
            remedy="grant the role read on the database local to let mnc check say it",
        )
    window_s = oplog.last.seconds - oplog.first.seconds
    reaches = f"reaches back {duration_text(window_s)}"
    if oplog.used_bytes < _OPLOG_FULL * oplog.max_bytes:
        used, limit = bytes_text(oplog.used_bytes), bytes_text(oplog.max_bytes)
        return finding(level="ok", found=f"{reaches} and is not full yet: {used} of {limit}")
    if window_s < _OPLOG_MIN_S:
        return finding(
            level="warning",
            found=f"{reaches}: an outage of mnc or NATS that lasts longer loses events",
            remedy="enlarge it with replSetResizeOplog (size, or minRetentionHours)",
        )
    return finding(level="ok", found=reaches)


def _others(databases: Sequence[str], facts: MongoFacts) -> Finding:
    finding = partial(_finding, check="other databases")
    missing = [name for name in databases if name in facts.missing_databases]
    if missing:
        return finding(
            level="warning",
            found=f"{', '.join(missing)}: not there yet",
            remedy="what stands before the first dot of an entry of MONGO_WATCH_COLLECTIONS is a "
            f"database; a name of {facts.database} with a dot in it is written with its database: "
            f"{facts.database}.{missing[0]}.NAME",
        )
    return finding(level="ok", found=", ".join(databases))


def _where(facts: MongoFacts) -> str:
    if len(facts.databases) == 1:
        return f"database {facts.databases[0]}"
    return f"databases {', '.join(facts.databases)}"


def _collections(facts: MongoFacts) -> Finding:
    finding = partial(_finding, check="collections")
    if facts.kinds is None:
        return finding(level="unknown", found="this user may not list them")
    others = [f"{name} is a {kind}" for name, kind in facts.kinds.items() if kind != "collection"]
    if others:
        return finding(
            level="problem",
            found=f"{', '.join(others)}, whose changes MongoDB does not report",
            remedy="remove it from MONGO_WATCH_COLLECTIONS; watch what it is made from",
        )
    if not facts.watched:
        return finding(
            level="ok",
            found=f"none in {_where(facts)} yet that MONGO_WATCH_COLLECTIONS takes; each "
            "is watched from its first document on",
        )
    missing = [name for name in facts.watched if name not in facts.kinds]
    if missing:
        return finding(
            level="warning",
            found=f"not in {_where(facts)} yet: {', '.join(missing)}",
            remedy="check MONGO_WATCH_COLLECTIONS and the database in MONGO_URI, if they should "
            "be; created later, they are watched from their first document on",
        )
    return finding(level="ok", found=f"{', '.join(facts.watched)} in {_where(facts)}")


def _clock(facts: MongoFacts) -> Finding:
    # Half the round trip may have been on either side of the server's look at its clock.
    off_s = max(abs(facts.clock_ahead_s) - facts.round_trip_s / 2, 0)
    if off_s <= _CLOCK_MAX_S:
        return _finding(check="clock", level="ok", found="agrees with this machine's")
    direction = "ahead of" if facts.clock_ahead_s > 0 else "behind"
    return _finding(
        check="clock",
        level="warning",
        found=f"is {duration_text(off_s)} {direction} this machine's, and lag is measured wrong "
        "by as much",
        remedy="synchronise both clocks (NTP)",
    )
