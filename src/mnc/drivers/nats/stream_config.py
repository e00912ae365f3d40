"""What a stream needs so that fenced batches work, and how to get there. Pure.

A stream that exists keeps every setting that its operator chose; only what is missing is added.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

__all__ = ["BATCH_FLAGS", "amended_config", "covers", "new_config", "obstacle", "takes"]

BATCH_FLAGS = ("allow_atomic", "allow_rollup_hdrs", "allow_msg_ttl")
"""Atomic batches; markers that replace their predecessor; markers that outlive `max_age`."""


def new_config(
    stream: str, subjects: Sequence[str], *, flags: Sequence[str] = BATCH_FLAGS
) -> dict[str, object]:
    """Return the configuration for a stream that doesn't exist yet."""
    return {
        "name": stream,
        "description": "MongoDB change events, kept by mnc",
        "subjects": list(subjects),
        "storage": "file",
        "retention": "limits",
        "discard": "new",  # discarding old messages to make room would lose events in silence
        "num_replicas": 1,
        **dict.fromkeys(flags, True),
    }


def amended_config(
    config: Mapping[str, object],
    subjects: Sequence[str],
    *,
    flags: Sequence[str] = BATCH_FLAGS,
) -> dict[str, object] | None:
    """Return `config` with what it lacks, or None when it lacks nothing."""
    amended = dict(config)
    missing = [subject for subject in subjects if not takes(config, subject)]
    if missing:
        # Subjects of one stream may not overlap: the wider one replaces what it covers.
        kept = [
            held
            for held in _subjects_of(config)
            if not any(covers(wider, held) for wider in missing)
        ]
        amended["subjects"] = kept + missing
    for flag in flags:
        if not config.get(flag):
            amended[flag] = True
    return None if amended == dict(config) else amended


def obstacle(config: Mapping[str, object]) -> tuple[str, str] | None:
    """Return why a stream can't keep events safely, and the remedy; None when it can.

    These are an operator's choices, which are never changed from here.
    """
    name = config["name"]
    another = "set NATS_STREAM_NAME to a name that no stream has; mnc serve makes it"
    obstacles = [
        ("mirror" in config, "is a mirror of another stream", another),
        (config.get("sealed"), "is sealed: it takes no message", another),
        (
            config.get("deny_purge"),
            "denies purging, which position markers can't do without",
            another,
        ),
        (
            config.get("persist_mode") == "async",
            "has persist mode async, which excludes atomic batches",
            another,
        ),
        (
            config.get("no_ack"),
            "acknowledges nothing",
            f"run: nats stream edit {name} --ack",
        ),
        (
            config.get("retention") == "interest",
            "drops what no consumer waits for (retention interest), the position markers too",
            f"run: nats stream edit {name} --retention limits",
        ),
    ]
    return next(((found, remedy) for is_there, found, remedy in obstacles if is_there), None)


def takes(config: Mapping[str, object], subject: str) -> bool:
    """Say whether a stream stores all that `subject`, which may hold wildcards, matches."""
    return any(covers(held, subject) for held in _subjects_of(config))


def covers(pattern: str, subject: str) -> bool:
    """Say whether `pattern` matches all that `subject`, which may hold wildcards, matches."""
    wanted = subject.split(".")
    for index, token in enumerate(pattern.split(".")):
        if token == ">":  # noqa: S105 - a subject's token, no secret
            return index < len(wanted)
        if index >= len(wanted):
            return False
        if token == "*" and wanted[index] != ">":  # noqa: S105 - a subject's token, no secret
            continue
        if token != wanted[index]:
            return False
    return len(pattern.split(".")) == len(wanted)


def _subjects_of(config: Mapping[str, object]) -> list[str]:
    subjects = config.get("subjects")
    return [str(subject) for subject in subjects] if isinstance(subjects, list) else []
