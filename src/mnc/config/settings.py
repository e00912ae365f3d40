"""The settings: their names, types, defaults and bounds, each in one place.

The messages about wrong settings, `mnc serve --help` and docs/settings.md are made from this model.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal, get_args

from pydantic import (
    ByteSize,
    Field,
    SecretStr,
    ValidationInfo,
    field_validator,
)

from mnc.config.fields import (
    Allowed,
    AnyCase,
    Entries,
    Masks,
    Operations,
    OversizePolicy,
    Paths,
    Pipeline,
    PoisonPolicy,
    StreamName,
    Subject,
)
from mnc.config.names import (
    check_cluster,
    check_collection,
    check_node_name,
)
from mnc.config.paths import check_hidden
from mnc.config.pipeline import NO_PIPELINE
from mnc.config.sections import NO_SECTION, CollectionPolicy, Section, SectionError, chosen
from mnc.config.security import NatsSecurity, login_setting
from mnc.config.selection import Selections, check_entry
from mnc.config.uris import mongo_database, nats_servers, split_nats_login
from mnc.model import BeforeChange, FullDocument, Namespace, Operation, collection_key

__all__ = [
    "AssignmentPolicy",
    "HistoryPolicy",
    "LogFormat",
    "LogLevel",
    "SettingRow",
    "Settings",
    "SnapshotPolicy",
    "setting_rows",
    "written",
]

LogLevel = Literal["debug", "info", "warning", "error"]
LogFormat = Literal["auto", "json", "console"]
AssignmentPolicy = Literal["spread", "leader"]
HistoryPolicy = Literal["stop", "snapshot", "now"]
SnapshotPolicy = Literal["never", "initial", "when_needed"]

_MIB = 1024 * 1024

_MASK_KEY_MIN = 16
"""A shorter key could be found by trying, with a known value and its hash."""


class Settings(NatsSecurity):
    """Everything that a user can set, checked.

    Invariants: those of NatsSecurity; `repr` and `str` show no secret; `mongo_watch_collections` is
    not empty, has no entry twice, and does not have `mongo_resume_tokens_collection` in it.
    """

    mongo_uri: Annotated[
        SecretStr,
        Field(description="The MongoDB deployment to watch, and the database in it."),
        Allowed("mongodb://[user:password@]host[:port][,...]/database[?options] or mongodb+srv://"),
    ]
    mongo_watch_collections: Annotated[
        Entries,
        Field(description="The collections to watch."),
        Allowed(
            "names, globs such as orders_* and exclusions such as !audit_*, separated by commas; "
            "database.name in another database"
        ),
    ]
    mongo_watch_operations: Annotated[
        Operations,
        Field(description="The operations to publish."),
        Allowed(f"one or more of {', '.join(get_args(Operation))}, separated by commas, each once"),
    ] = ("insert", "update", "replace", "delete")
    mongo_full_document: Annotated[
        FullDocument,
        Field(description="Where the document in an update's event comes from."),
        Allowed("off, updateLookup, whenAvailable or required"),
    ] = "updateLookup"
    mongo_full_document_before_change: Annotated[
        BeforeChange,
        Field(description="Whether an event has the document as it was before the change."),
        Allowed("off, whenAvailable or required"),
    ] = "off"
    mongo_exclude_fields: Annotated[
        Paths,
        Field(description="Fields of documents that are left out of events."),
        Allowed("paths such as name or address.street, separated by commas, none of _id"),
    ] = ()
    mongo_mask_key: Annotated[
        SecretStr | None,
        Field(min_length=_MASK_KEY_MIN, description="The key of the hashes in MONGO_MASK_FIELDS."),
        Allowed(f"{_MASK_KEY_MIN} characters or more; the same on all instances"),
    ] = None
    mongo_mask_fields: Annotated[
        Masks,
        Field(description="Fields of documents whose values are masked in events."),
        Allowed("paths with :hash or :redact behind them, separated by commas, none of _id"),
    ] = ()
    mongo_pipeline: Annotated[
        Pipeline,
        Field(description="What MongoDB does with change events before it sends them."),
        Allowed(
            "a JSON array of the stages $match, $project (to leave fields out), $unset, $addFields "
            "and $set"
        ),
    ] = NO_PIPELINE
    mongo_resume_tokens_collection: Annotated[
        str,
        Field(
            description="The collection, in the database in MONGO_URI, that keeps resume tokens."
        ),
        Allowed("the name of a collection that is not watched"),
    ] = "cs_resume_tokens"
    mongo_on_history_lost: Annotated[
        HistoryPolicy,
        AnyCase,
        Field(description="What to do once MongoDB has forgotten changes before they were read."),
        Allowed(
            "stop: the collection waits for a person; snapshot: it begins with one again; "
            "now: it goes on without them"
        ),
    ] = "stop"
    mongo_snapshot: Annotated[
        SnapshotPolicy,
        AnyCase,
        Field(description="When the documents that are there already are published, as `read`."),
        Allowed(
            "never; initial: before a collection's first changes; when_needed: also where "
            "MONGO_ON_HISTORY_LOST would stop"
        ),
    ] = "never"
    mongo_snapshot_documents_per_s: Annotated[
        int,
        Field(ge=0, le=1_000_000, description="How fast a snapshot reads a collection at most."),
        Allowed("documents a second, from 1 to 1000000; 0 is as fast as can be"),
    ] = 0
    nats_server_url: Annotated[
        SecretStr,
        Field(description="The NATS servers to publish to; several of one cluster may be named."),
        Allowed("nats:// or tls://[user:password@ or token@]host[:port], separated by commas"),
    ] = SecretStr("nats://127.0.0.1:4222")
    nats_stream_name: Annotated[
        StreamName,
        Field(description="The JetStream stream, and the first token of its subjects."),
        Allowed(
            r"up to 255 bytes without white space or any of . * > / \ and not $, _ or OBJ_ first"
        ),
    ] = "cs"
    nats_subject: Annotated[
        Subject,
        Field(
            description="The subject of an event; a word in a part's place makes subjects fewer."
        ),
        Allowed("{stream}.{collection}. and two parts: {operation} or a word, {id} or a word"),
    ] = "{stream}.{collection}.{operation}.{id}"
    raft_cluster_size: Annotated[
        int,
        Field(ge=1, le=9, description="How many instances elect who works; 1 works alone."),
        Allowed("a number from 1 to 9; odd ones are best"),
    ] = 3
    raft_cluster_name: Annotated[
        str,
        Field(description="What the instances of one cluster have in common, and no other has."),
        Allowed("letters, digits, - and _, up to 64 of them"),
    ] = "connector"
    raft_node_name: Annotated[
        str | None,
        Field(description="What people call this instance; unset: the host's name and HTTP_PORT."),
        Allowed("up to 255 printable characters; no two instances of a cluster have the same"),
    ] = None
    raft_log_path: Annotated[
        Path | None,
        Field(description="This instance's own folder; unset: mnc-raft/HTTP_PORT."),
        Allowed("a folder on a disk that survives restarts; it is made if it is missing"),
    ] = None
    raft_assignment: Annotated[
        AssignmentPolicy,
        AnyCase,
        Field(description="Whether the collections are spread over the instances."),
        Allowed("spread, or leader: the elected instance has them all"),
    ] = "spread"
    raft_election_timeout_s: Annotated[
        float,
        Field(ge=0.2, le=5, description="How long an instance may be silent."),
        Allowed("seconds, from 0.2 to 5; the same on all instances"),
    ] = 1.0
    http_host: Annotated[
        str,
        Field(min_length=1, description="The address that the HTTP server listens on."),
        Allowed("an IP address or a host name of this machine; 0.0.0.0 and :: are all of them"),
    ] = "0.0.0.0"
    http_port: Annotated[
        int,
        Field(ge=0, le=65535, description="The port of the HTTP server."),
        Allowed("a number from 0 to 65535; 0 takes a free port"),
    ] = 3000
    publish_max_inflight_bytes: Annotated[
        ByteSize,
        Field(ge=_MIB, description="The memory for events between MongoDB and the stream."),
        Allowed("1MiB or more, as in 32MiB, 64MB or 33554432"),
    ] = ByteSize(32 * _MIB)
    publish_max_inflight_batches: Annotated[
        int,
        # The server refuses a stream's 51st batch in flight (error 10210); others may publish too.
        Field(ge=1, le=40, description="How many batches may await their acknowledgement."),
        Allowed("a number from 1 to 40"),
    ] = 8
    publish_on_poison: Annotated[
        PoisonPolicy,
        AnyCase,
        Field(description="What becomes of an event that can never be published."),
        Allowed("deadletter or stop"),
    ] = "deadletter"
    nats_oversize: Annotated[
        OversizePolicy,
        AnyCase,
        Field(description="What becomes of an event that is larger than NATS takes."),
        Allowed("objectstore, deadletter or stop"),
    ] = "objectstore"
    nats_ack_timeout_s: Annotated[
        float,
        Field(ge=0.1, le=60, description="How long a batch's acknowledgement is waited for."),
        Allowed("seconds, from 0.1 to 60"),
    ] = 5.0
    nats_require_fencing: Annotated[
        bool,
        Field(description="Whether to refuse a server or a stream without atomic batches."),
        Allowed("true or false"),
    ] = False
    checkpoint_interval_s: Annotated[
        float,
        Field(ge=0, le=60, description="The shortest time between two writes of a resume token."),
        Allowed("seconds, from 0 to 60"),
    ] = 0.5
    shutdown_timeout_s: Annotated[
        float,
        Field(ge=0, le=600, description="How long a shutdown may take to drain what is in flight."),
        Allowed("seconds, from 0 to 600"),
    ] = 20.0
    log_level: Annotated[
        LogLevel,
        AnyCase,
        Field(description="The least severe log lines that are written."),
        Allowed("debug, info, warning or error"),
    ] = "info"
    log_format: Annotated[
        LogFormat,
        AnyCase,
        Field(description="The form of the log lines; auto is console on a terminal, else json."),
        Allowed("auto, json or console"),
    ] = "auto"

    collections: Annotated[
        tuple[Section, ...],
        Field(description="What differs for some collections, in the order in which it is sought."),
    ] = ()

    @property
    def mongo_database(self) -> str:
        """The database that `mongo_uri` names."""
        return mongo_database(self.mongo_uri.get_secret_value())

    @property
    def selections(self) -> Selections:
        """Which collections are watched."""
        return Selections.of(
            self.mongo_watch_collections,
            home=self.mongo_database,
            reserved=(self.mongo_resume_tokens_collection,),
        )

    def policy(self, collection: str) -> CollectionPolicy:
        """Return what is in force for a collection: the first section that matches it counts."""
        home = self.mongo_database
        matching = (each for each in self.collections if each.matches(collection, home=home))
        return CollectionPolicy.of(self, next(matching, NO_SECTION))

    @property
    def policies(self) -> Collection[CollectionPolicy]:
        """All that may be in force for one collection or another."""
        return {CollectionPolicy.of(self, section) for section in (NO_SECTION, *self.collections)}

    @property
    def streams(self) -> Sequence[str]:
        """The names of all streams that collections may go to, `nats_stream_name` first."""
        own = (section.nats_stream_name for section in self.collections)
        return tuple(dict.fromkeys((self.nats_stream_name, *filter(None, own))))

    def stream_of(self, namespace: Namespace) -> str:
        """Return the name of a collection's stream.

        Where there is no collection's name, as for what looks for collections, that is the one of
        `nats_stream_name`, whatever a section's globs match.
        """
        if not namespace.collection:
            return self.nats_stream_name
        key = collection_key(namespace.database, namespace.collection, home=self.mongo_database)
        return self.policy(key).stream

    @property
    def nats_servers(self) -> tuple[str, ...]:
        """The servers of `nats_server_url`, with their credentials: not for logs."""
        return nats_servers(self.nats_server_url.get_secret_value())

    @field_validator("mongo_uri")
    @classmethod
    def _names_a_database(cls, value: SecretStr) -> SecretStr:
        mongo_database(value.get_secret_value())
        return value

    @field_validator("mongo_watch_collections")
    @classmethod
    def _are_collections(cls, names: tuple[str, ...], info: ValidationInfo) -> tuple[str, ...]:
        home = _database(info)
        for name in names:
            check_entry(name, home=home)
        Selections.of(names, home=home)
        return names

    @field_validator("mongo_mask_fields")
    @classmethod
    def _hide_clearly(cls, masks: tuple[str, ...], info: ValidationInfo) -> tuple[str, ...]:
        excluded = info.data.get("mongo_exclude_fields", ())
        check_hidden(excluded, masks, has_key=bool(info.data.get("mongo_mask_key")))
        return masks

    @field_validator("mongo_resume_tokens_collection")
    @classmethod
    def _is_not_watched(cls, name: str, info: ValidationInfo) -> str:
        home = _database(info)
        check_collection(name, database=home)
        watched = info.data.get("mongo_watch_collections")
        key = collection_key(home, name, home=home)
        if watched and key in Selections.of(watched, home=home).names:
            # Each token written would be an event, whose token would be written.
            raise ValueError("it is among MONGO_WATCH_COLLECTIONS")
        return name

    @field_validator("mongo_snapshot")
    @classmethod
    def _agrees_on_lost_history(cls, policy: SnapshotPolicy, info: ValidationInfo) -> str:
        if policy == "when_needed" and info.data.get("mongo_on_history_lost") == "now":
            raise ValueError("MONGO_ON_HISTORY_LOST=now says that no snapshot is needed")
        return policy

    @field_validator("nats_server_url")
    @classmethod
    def _are_servers(cls, value: SecretStr, info: ValidationInfo) -> SecretStr:
        _, login = split_nats_login(nats_servers(value.get_secret_value()))
        if login and (other := login_setting(info.data)):
            raise ValueError(f"it has credentials in it, and {other} is set too; keep one of them")
        return value

    @field_validator("raft_cluster_name")
    @classmethod
    def _is_a_cluster(cls, name: str) -> str:
        return check_cluster(name)

    @field_validator("raft_node_name")
    @classmethod
    def _is_a_node(cls, name: str | None) -> str | None:
        return name and check_node_name(name)

    @field_validator("collections")
    @classmethod
    def _fit_the_others(
        cls, sections: tuple[Section, ...], info: ValidationInfo
    ) -> tuple[Section, ...]:
        data = info.data
        for index, section in enumerate(sections):
            own = section.mongo_exclude_fields, section.mongo_mask_fields
            of_all = data.get("mongo_exclude_fields", ()), data.get("mongo_mask_fields", ())
            excluded, masks = map(chosen, own, of_all)
            try:
                check_hidden(excluded, masks, has_key=bool(data.get("mongo_mask_key")))
            except ValueError as error:
                key = "mongo_exclude_fields" if own[1] is None else "mongo_mask_fields"
                raise SectionError(index, key, str(error)) from error
        return sections


def _database(info: ValidationInfo) -> str:
    """Return the database of the URI, or nothing when the URI is wrong itself."""
    uri = info.data.get("mongo_uri")
    return mongo_database(uri.get_secret_value()) if uri else ""


@dataclass(frozen=True, slots=True, kw_only=True)
class SettingRow:
    """A setting as help and documentation show it."""

    name: str
    """The environment's name; a TOML file has it in lower case."""
    field: str
    is_secret: bool
    default: str | None
    """As a user would write it, or "unset"; None when the setting is required."""
    allowed: str
    description: str


def setting_rows() -> tuple[SettingRow, ...]:
    """Describe every setting, in the order of the model, those of NatsSecurity last.

    The sections of a TOML file are none: they have no name in the environment.
    """
    inherited = NatsSecurity.model_fields
    rows = sorted(Settings.model_fields.items(), key=lambda item: item[0] in inherited)
    return tuple(
        SettingRow(
            name=name.upper(),
            field=name,
            is_secret=SecretStr in (field.annotation, *get_args(field.annotation)),
            default=None if field.is_required() else written(field.default),
            allowed=next(rule.text for rule in field.metadata if isinstance(rule, Allowed)),
            description=field.description or "",
        )
        for name, field in rows
        if any(isinstance(rule, Allowed) for rule in field.metadata)
    )


def written(value: object) -> str:
    """Return a setting's value as a user would write it, or "unset"; secrets as they are."""
    match value:
        case None | ():
            return "unset"
        case bool():
            return str(value).lower()
        case SecretStr():
            return value.get_secret_value()
        case ByteSize():
            return str(int(value)) if value % _MIB else f"{value // _MIB}MiB"
        case tuple():
            return ",".join(value)
        case _:
            return str(value)
