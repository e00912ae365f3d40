"""The bucket of JetStream's object store that keeps a stream's large payloads: names and format.

Theory of operation. A bucket is a stream: an object's chunks are messages of one subject, and a
message on a subject of the object's name, its *meta*, describes it and names the chunks. The meta
comes last, so an object is there as a whole or not at all. The format is ADR-20 of NATS's
architecture, so that every client's object store reads it. Ours are the names of the chunks, which
begin with the object's, so that a list of subjects tells which chunks are in use. Pure.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import orjson

__all__ = ["Bucket", "StoredObject", "digest_text", "parse_time"]

_STREAM_NAME_LIMIT = 200
"""Characters of a stream's name that are kept; a bucket is a stream, whose name may have 255."""

_SAFE_NAME = re.compile(rf"[A-Za-z0-9_-]{{1,{_STREAM_NAME_LIMIT}}}")
_UNSAFE = re.compile(r"[^A-Za-z0-9_-]")
_DIGEST_CHARS = 16

_CHUNK_NAME = re.compile(r"(?P<object>[A-Za-z0-9:]+)-[A-Za-z0-9]+")
"""An object's name, which is a message id, and a part that is another one each time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredObject:
    """What a meta says of an object."""

    chunks_subject: str
    size_bytes: int
    digest: str
    stored_at: datetime


@dataclass(frozen=True, slots=True)
class Bucket:
    """The bucket of one stream."""

    name: str

    @classmethod
    def of_stream(cls, stream: str) -> Bucket:
        """Return the bucket of the stream named `stream`; no two streams share one."""
        if _SAFE_NAME.fullmatch(stream):
            return cls(f"{stream}_payloads")
        digest = hashlib.sha256(stream.encode()).hexdigest()[:_DIGEST_CHARS]
        readable = _UNSAFE.sub("-", stream)[: _STREAM_NAME_LIMIT - _DIGEST_CHARS]
        return cls(f"{readable}-{digest}_payloads")

    @property
    def stream(self) -> str:
        """The name of the stream that the bucket is."""
        return f"OBJ_{self.name}"

    @property
    def all_chunks(self) -> str:
        """The subjects of all chunks."""
        return f"$O.{self.name}.C.>"

    @property
    def all_metas(self) -> str:
        """The subjects of all metas."""
        return f"$O.{self.name}.M.>"

    def config(self, of_stream: Mapping[str, object]) -> Mapping[str, object]:
        """Return the configuration of a new bucket: as safe and as old as the stream's messages."""
        return {
            "name": self.stream,
            "description": "Large payloads of MongoDB change events, kept by mnc",
            "subjects": [self.all_chunks, self.all_metas],
            "storage": "file",
            "retention": "limits",
            "discard": "new",
            "num_replicas": of_stream.get("num_replicas", 1),
            "max_age": of_stream.get("max_age", 0),
            "allow_rollup_hdrs": True,
            "allow_direct": True,
        }

    def meta_subject(self, name: str) -> str:
        """Return the subject of the meta of object `name`."""
        return f"$O.{self.name}.M.{base64.urlsafe_b64encode(name.encode()).decode()}"

    def chunks_subject(self, name: str, nuid: str) -> str:
        """Return the subject of the chunks of object `name`, of one attempt to store it."""
        return f"$O.{self.name}.C.{name}-{nuid}"

    def meta(self, name: str, *, chunks_subject: str, size: int, chunks: int, digest: str) -> bytes:
        """Return an object's meta."""
        fields = {
            "name": name,
            "bucket": self.name,
            "nuid": chunks_subject.rpartition(".")[2],
            "size": size,
            "chunks": chunks,
            "digest": digest,
            "mtime": datetime.now(UTC).isoformat(),
        }
        return orjson.dumps(fields)

    def read_meta(self, message: Mapping[str, object]) -> StoredObject | None:
        """Read a meta as JetStream's API returns it, or return None when its object is deleted."""
        fields = orjson.loads(base64.b64decode(str(message["data"])))
        if fields.get("deleted"):
            return None
        return StoredObject(
            chunks_subject=f"$O.{self.name}.C.{fields['nuid']}",
            size_bytes=fields["size"],
            digest=fields["digest"],
            stored_at=parse_time(str(message["time"])),
        )

    def owner_of_chunks(self, subject: str) -> str | None:
        """Return the subject of the meta that chunks belong to; None when they aren't of mnc's."""
        found = _CHUNK_NAME.fullmatch(subject.rpartition(".")[2])
        return self.meta_subject(found["object"]) if found else None

    def doubtful_chunks(self, chunks: Sequence[str], metas: Sequence[str]) -> Sequence[str]:
        """Return the subjects of chunks that may be in nobody's use.

        Their object has no meta, or there are chunks of several attempts to store it.
        """
        present = set(metas)
        owners = [self.owner_of_chunks(subject) for subject in chunks]
        attempts = Counter(owners)
        return [
            subject
            for subject, owner in zip(chunks, owners, strict=True)
            if owner is not None and (owner not in present or attempts[owner] > 1)
        ]


def digest_text(sha256: bytes) -> str:
    """Return a digest as metas have it."""
    return f"SHA-256={base64.urlsafe_b64encode(sha256).decode()}"


def parse_time(text: str) -> datetime:
    """Read a time as JetStream writes it: RFC 3339 with nanoseconds, which are cut."""
    return datetime.fromisoformat(text)
