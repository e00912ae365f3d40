"""What a setting's declaration says beside its type, and the types that several places declare."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import AfterValidator, BeforeValidator, Field

from mnc.config.names import check_stream, check_subject, check_unique
from mnc.config.paths import check_masks, check_paths
from mnc.config.pipeline import check_pipeline
from mnc.model import Operation

__all__ = [
    "Allowed",
    "AnyCase",
    "CommaSeparated",
    "Entries",
    "Masks",
    "Operations",
    "OversizePolicy",
    "Paths",
    "Pipeline",
    "PoisonPolicy",
    "StreamName",
    "Subject",
]

OversizePolicy = Literal["objectstore", "deadletter", "stop"]
PoisonPolicy = Literal["deadletter", "stop"]


@dataclass(frozen=True, slots=True)
class Allowed:
    """What a setting may be, in the words of its error message."""

    text: str


def _split(value: object) -> object:
    """Split a comma-separated list; a list from a TOML file stays as it is."""
    if isinstance(value, str):
        return tuple(part.strip() for part in value.split(",") if part.strip())
    return value


def _lower(value: object) -> object:
    return value.lower() if isinstance(value, str) else value


AnyCase = BeforeValidator(_lower)
CommaSeparated = BeforeValidator(_split, json_schema_input_type=list[str] | str)

Entries = Annotated[
    tuple[str, ...],
    CommaSeparated,
    Field(min_length=1),
    AfterValidator(check_unique),
]
"""A list, separated by commas, in which nothing stands twice."""

Operations = Annotated[
    tuple[Operation, ...],
    BeforeValidator(_split, json_schema_input_type=list[Operation] | str),
    Field(min_length=1),
    AfterValidator(check_unique),
]
"""The same of operations."""

Paths = Annotated[tuple[str, ...], CommaSeparated, AfterValidator(check_paths)]
"""Fields of documents that are left out."""

Masks = Annotated[tuple[str, ...], CommaSeparated, AfterValidator(check_masks)]
"""Fields of documents that are masked, each with how."""

Pipeline = Annotated[str, AfterValidator(check_pipeline)]
"""The text of an array of stages."""

StreamName = Annotated[str, AfterValidator(check_stream)]
"""The name of a stream, which its subjects begin with."""

Subject = Annotated[str, AfterValidator(check_subject)]
"""The template of a subject."""
