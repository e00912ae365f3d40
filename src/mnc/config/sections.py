"""What differs for some collections: the sections `[[collections]]` of a TOML file. Pure.

A section says which collections it is for, as MONGO_WATCH_COLLECTIONS does, and has some of the
settings under their own names. The first section that matches a collection counts, and no other;
what it doesn't set is as for all collections.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Final, Protocol, TypeVar

from pydantic import BaseModel, ConfigDict, Field, field_validator

from mnc.config.fields import (
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
from mnc.config.selection import Selections, check_entry
from mnc.model import BeforeChange, FullDocument, Operation

__all__ = ["NO_SECTION", "CollectionPolicy", "Section", "SectionError", "chosen"]

_T = TypeVar("_T")


class SectionError(ValueError):
    """A section doesn't fit what is set for all collections."""

    def __init__(self, index: int, key: str, problem: str) -> None:
        super().__init__(problem)
        self.index = index
        """Which section, from 0."""
        self.key = key
        """What the section can set to make it right."""


class Section(BaseModel):
    """One section; None stands for what it leaves as it is.

    Invariants: frozen; it can match a collection.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    match: Annotated[
        Entries,
        Field(description="As MONGO_WATCH_COLLECTIONS: names, globs and exclusions."),
    ]
    mongo_watch_operations: Operations | None = None
    mongo_full_document: FullDocument | None = None
    mongo_full_document_before_change: BeforeChange | None = None
    mongo_exclude_fields: Paths | None = None
    mongo_mask_fields: Masks | None = None
    mongo_pipeline: Pipeline | None = None
    nats_stream_name: StreamName | None = None
    nats_subject: Subject | None = None
    publish_on_poison: Annotated[PoisonPolicy, AnyCase] | None = None
    nats_oversize: Annotated[OversizePolicy, AnyCase] | None = None

    @field_validator("match")
    @classmethod
    def _are_entries(cls, entries: tuple[str, ...]) -> tuple[str, ...]:
        for entry in entries:
            check_entry(entry)
        Selections.of(entries, home="")
        return entries

    def matches(self, collection: str, *, home: str) -> bool:
        """Say whether the section is for `collection`; MONGO_URI names the database `home`."""
        return Selections.of(self.match, home=home).wants(collection)


NO_SECTION: Final = Section(match=("*",))
"""Stands for a section where none matches; it leaves everything as it is."""


class _Defaults(Protocol):
    """The settings for all collections."""

    @property
    def mongo_watch_operations(self) -> tuple[Operation, ...]: ...
    @property
    def mongo_full_document(self) -> FullDocument: ...
    @property
    def mongo_full_document_before_change(self) -> BeforeChange: ...
    @property
    def mongo_exclude_fields(self) -> tuple[str, ...]: ...
    @property
    def mongo_mask_fields(self) -> tuple[str, ...]: ...
    @property
    def mongo_pipeline(self) -> str: ...
    @property
    def nats_stream_name(self) -> str: ...
    @property
    def nats_subject(self) -> str: ...
    @property
    def publish_on_poison(self) -> PoisonPolicy: ...
    @property
    def nats_oversize(self) -> OversizePolicy: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class CollectionPolicy:
    """What is in force for a collection."""

    operations: frozenset[Operation]
    full_document: FullDocument
    before_change: BeforeChange
    excluded: tuple[str, ...]
    """Paths of fields that are left out."""
    masks: tuple[str, ...]
    """Paths of fields that are masked, each with how."""
    pipeline: str
    """What change events go through on the server; NO_PIPELINE for nothing."""
    stream: str
    """The name of the stream."""
    subject: str
    """The template of subjects."""
    on_poison: PoisonPolicy
    oversize: OversizePolicy

    @classmethod
    def of(cls, settings: _Defaults, own: Section) -> CollectionPolicy:
        """Return what is in force for the collections of the section `own`."""
        return cls(
            operations=frozenset(own.mongo_watch_operations or settings.mongo_watch_operations),
            full_document=own.mongo_full_document or settings.mongo_full_document,
            before_change=(
                own.mongo_full_document_before_change or settings.mongo_full_document_before_change
            ),
            # These may be empty, to have nothing done that is done elsewhere.
            excluded=chosen(own.mongo_exclude_fields, settings.mongo_exclude_fields),
            masks=chosen(own.mongo_mask_fields, settings.mongo_mask_fields),
            pipeline=chosen(own.mongo_pipeline, settings.mongo_pipeline),
            stream=own.nats_stream_name or settings.nats_stream_name,
            subject=own.nats_subject or settings.nats_subject,
            on_poison=own.publish_on_poison or settings.publish_on_poison,
            oversize=own.nats_oversize or settings.nats_oversize,
        )


def chosen(own: _T | None, of_all: _T) -> _T:
    """Return what a section sets itself, or else what is set for all collections."""
    return of_all if own is None else own
