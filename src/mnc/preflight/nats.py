"""What the facts about NATS and the streams mean for the connector. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import assert_never

from mnc.config import OversizePolicy
from mnc.errors import SinkError
from mnc.preflight.facts import AccountFacts, NatsFacts, StreamFacts
from mnc.preflight.finding import Finding
from mnc.preflight.quantities import bytes_text, duration_text, version_text

__all__ = ["nats_findings"]

_EVENT_MAX_BYTES = 16 * 1024 * 1024
"""The largest event that MongoDB can return; as JSON it may be larger or smaller."""

_AGE_MIN_S = 24 * 3600.0
"""Consumers that are down for a night should still find what happened."""

_RISKS: tuple[OversizePolicy, ...] = ("stop", "deadletter", "objectstore")
"""What there is most to say about comes first."""

_finding = partial(Finding, area="NATS")


def nats_findings(
    facts: Sequence[NatsFacts] | SinkError,
    *,
    require_fencing: bool,
    oversizes: Mapping[str, Collection[OversizePolicy]],
) -> list[Finding]:
    """Judge the facts of each stream, or the error that kept them from being collected.

    `oversizes` are the policies for the collections of each stream, by its name.
    """
    if isinstance(facts, SinkError):
        return [
            _finding(check="reachable", level="problem", found=facts.message, remedy=facts.remedy)
        ]
    return list(_judge(facts, require_fencing=require_fencing, oversizes=oversizes))


def _judge(
    streams: Sequence[NatsFacts],
    *,
    require_fencing: bool,
    oversizes: Mapping[str, Collection[OversizePolicy]],
) -> Iterator[Finding]:
    server = streams[0]
    yield _finding(check="reachable", level="ok", found=f"connected to {server.address}")
    yield _finding(check="version", level="ok", found=version_text(server.version))
    for facts in streams:
        oversize = _riskiest(oversizes[facts.stream])
        for finding in _of_stream(facts, require_fencing=require_fencing, oversize=oversize):
            if len(streams) == 1:
                yield finding
            else:
                yield replace(finding, found=f"stream {facts.stream}: {finding.found}")
    of_all = {policy for policies in oversizes.values() for policy in policies}
    yield _max_payload(server.max_payload_bytes, _riskiest(of_all))


def _riskiest(policies: Collection[OversizePolicy]) -> OversizePolicy:
    return next(policy for policy in _RISKS if policy in policies)


def _of_stream(
    facts: NatsFacts, *, require_fencing: bool, oversize: OversizePolicy
) -> Iterator[Finding]:
    yield _permissions(facts)
    if isinstance(facts.account, SinkError):
        yield _finding(
            check="JetStream",
            level="problem",
            found=facts.account.message,
            remedy=facts.account.remedy,
        )
    else:
        yield _jetstream(facts.account)
        yield _publishing(facts.without_batches, require_fencing=require_fencing)
        yield from _stream(facts, facts.account, oversize)


def _publishing(without_batches: SinkError | None, *, require_fencing: bool) -> Finding:
    finding = partial(_finding, check="publishing")
    if without_batches is None:
        return finding(level="ok", found="in atomic batches")
    reason, remedy = without_batches.message, without_batches.remedy
    if require_fencing:
        return finding(
            level="problem",
            found=f"{reason}, and NATS_REQUIRE_FENCING is true",
            remedy=remedy,
        )
    return finding(
        level="warning",
        found=f"{reason}: mnc serve publishes without them; /status says what that does not "
        "promise",
        remedy=remedy,
    )


def _permissions(facts: NatsFacts) -> Finding:
    finding = partial(_finding, check="permissions")
    if facts.denied is None:
        return finding(level="unknown", found="the server does not tell them")
    if facts.denied:
        return finding(
            level="problem",
            found=f"this user may not publish to {', '.join(facts.denied)}",
            remedy="add them to the user's permissions in nats-server's configuration",
        )
    return finding(level="ok", found="this user may publish all that is needed")


def _jetstream(account: AccountFacts) -> Finding:
    finding = partial(_finding, check="JetStream", level="ok")
    if account.stored_bytes is None:
        return finding(found="answers")
    stored, limit = bytes_text(account.stored_bytes), account.storage_limit_bytes
    if limit is None:
        return finding(found=f"stores {stored} for this account")
    return finding(
        found=f"stores {stored} of {bytes_text(limit)} for this account; when it is full, mnc waits"
    )


def _stream(facts: NatsFacts, account: AccountFacts, oversize: OversizePolicy) -> Iterator[Finding]:
    finding = partial(_finding, check="stream")
    name, stream = facts.stream, account.stream
    if stream is None:
        yield finding(level="ok", found=f"{name} does not exist; mnc serve will make it")
    elif stream.obstacle is not None:
        found, remedy = stream.obstacle
        yield finding(level="problem", found=f"{name} {found}", remedy=remedy)
    elif stream.lacks and facts.without_batches is None:
        yield finding(
            level="ok",
            found=f"{name} has {stream.messages} messages; mnc serve adds to it, if it may: "
            f"{', '.join(stream.lacks)}",
        )
    else:
        yield finding(level="ok", found=f"{name} has {stream.messages} messages")
    yield _subjects(facts, account)
    yield _replicas(name, account)
    if stream is not None:
        yield _storage(stream)
        yield _limits(name, stream)
        yield _message_size(name, stream, oversize)
        window = duration_text(stream.duplicate_window_s)
        yield _finding(check="duplicate window", level="ok", found=window)


def _subjects(facts: NatsFacts, account: AccountFacts) -> Finding:
    finding = partial(_finding, check="subjects")
    subjects = ", ".join(facts.subjects)
    if account.overlapping is None:
        return finding(level="unknown", found="this user may not ask which streams have them")
    if account.overlapping:
        return finding(
            level="problem",
            found=f"{subjects} overlap with those of stream "
            f"{', '.join(sorted(account.overlapping))}",
            remedy="take them out of it, or set NATS_STREAM_NAME to another name",
        )
    return finding(level="ok", found=subjects)


def _replicas(name: str, account: AccountFacts) -> Finding:
    finding = partial(_finding, check="replicas")
    stream = account.stream
    replicas = 1 if stream is None else stream.replicas
    if replicas > 1 or not account.is_clustered:
        return finding(level="ok", found=str(replicas))
    verb = "will be" if stream is None else "is"
    return finding(
        level="warning",
        found=f"the stream {verb} on one server of the cluster; without that server nothing "
        "can be stored",
        remedy=f"once it exists, run: nats stream edit {name} --replicas 3",
    )


def _storage(stream: StreamFacts) -> Finding:
    if stream.storage == "memory":
        return _finding(
            check="storage",
            level="warning",
            found="memory: a restart of the server loses the events",
            remedy="use a stream with file storage; it can't be changed later",
        )
    return _finding(check="storage", level="ok", found=stream.storage)


def _limits(name: str, stream: StreamFacts) -> Finding:
    finding = partial(_finding, check="limits", level="warning")
    if stream.retention == "workqueue":
        return finding(
            found="a message leaves when a consumer has acknowledged it (retention workqueue), "
            "a position marker too",
            remedy=f"give each consumer the filter subject {name}.>",
        )
    if stream.max_messages_per_subject:
        return finding(
            found=f"it keeps {stream.max_messages_per_subject} events a document and operation, "
            "the last ones",
            remedy="if consumers need all of them, run: "
            f"nats stream edit {name} --max-msgs-per-subject=-1",
        )
    sizes = [
        *([f"{stream.max_messages} messages"] if stream.max_messages else []),
        *([bytes_text(stream.max_bytes)] if stream.max_bytes else []),
    ]
    if sizes and stream.discard == "old":
        return finding(
            found=f"beyond {' or '.join(sizes)} it drops the oldest events (discard old)",
            remedy=f"run: nats stream edit {name} --discard new; mnc then waits while it is full",
        )
    if 0 < stream.max_age_s < _AGE_MIN_S:
        return finding(
            found=f"it drops events after {duration_text(stream.max_age_s)}",
            remedy=f"if consumers may be away for longer, run: nats stream edit {name} --max-age "
            "7d",
        )
    full = f"when it has {' or '.join(sizes)}, mnc waits" if sizes else "it has no size limit"
    age = f"; it drops events after {duration_text(stream.max_age_s)}" if stream.max_age_s else ""
    return finding(level="ok", found=f"{full}{age}")


def _message_size(name: str, stream: StreamFacts, oversize: OversizePolicy) -> Finding:
    finding = partial(_finding, check="message size")
    limit = stream.max_message_bytes
    if not limit:
        return finding(level="ok", found="not limited")
    if limit >= _EVENT_MAX_BYTES:
        return finding(level="ok", found=bytes_text(limit))
    return _small_limit(
        finding, limit, oversize, cure=f"run: nats stream edit {name} --max-msg-size=-1"
    )


def _max_payload(limit: int, oversize: OversizePolicy) -> Finding:
    finding = partial(_finding, check="max_payload")
    if limit > _EVENT_MAX_BYTES:
        return finding(level="ok", found=bytes_text(limit))
    cure = "set max_payload: 64MB in nats-server's configuration"
    return _small_limit(finding, limit, oversize, cure=cure)


def _small_limit(
    finding: partial[Finding], limit: int, oversize: OversizePolicy, *, cure: str
) -> Finding:
    """Say what becomes of an event over a limit, which is another thing under each policy."""
    larger = (
        f"{bytes_text(limit)}: a larger event (there are some of {bytes_text(_EVENT_MAX_BYTES)})"
    )
    otherwise = f"if documents may be as large, set NATS_OVERSIZE=objectstore, or {cure}"
    match oversize:
        case "objectstore":
            return finding(level="ok", found=f"{larger} has its payload in the object store")
        case "deadletter":
            return finding(
                level="warning", found=f"{larger} becomes a dead letter", remedy=otherwise
            )
        case "stop":
            return finding(
                level="warning",
                found=f"{larger} stops its collection until the limit is raised; none is skipped",
                remedy=otherwise,
            )
        case _:
            assert_never(oversize)
