"""Large payloads in a bucket of JetStream's object store, behind the publish stage's port.

It writes the object store's format itself, because nats-py's calls can't say what a broken
connection and a missing permission mean: each chunk is a request of the session.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime, timedelta

import nats.errors
import trio
from nats.aio.client import Client
from nats.nuid import NUID

from mnc.drivers.nats.bucket import Bucket, StoredObject, digest_text
from mnc.drivers.nats.replies import (
    NO_MESSAGE,
    STREAM_NOT_FOUND,
    error_code,
    raise_error,
)
from mnc.drivers.nats.session import NatsSession
from mnc.drivers.nats.stream_api import StreamApi
from mnc.encode.reference import PayloadReference
from mnc.errors import (
    OutcomeUnknownError,
    SinkError,
    SinkRefusedError,
    SinkUnavailableError,
    StreamMissingError,
)

__all__ = ["REUSED_FOR", "JetStreamPayloads"]

_CHUNK_BYTES = 128 * 1024
"""What every client's object store takes by default."""

REUSED_FOR = timedelta(minutes=10)
"""How long an object that is there already is taken for granted.

It has to be well under the age at which the sweep removes what nothing refers to.
"""


class JetStreamPayloads:
    """Keeps the payloads of one stream's messages in a bucket, which it makes when it is needed."""

    def __init__(self, session: NatsSession, *, stream: str, ack_timeout_s: float) -> None:
        self._session = session
        self._bucket = Bucket.of_stream(stream)
        self._of_stream = StreamApi(session, stream=stream, timeout_s=ack_timeout_s)
        self._of_bucket = StreamApi(session, stream=self._bucket.stream, timeout_s=ack_timeout_s)
        self._nuid = NUID()

    async def put(self, name: str, payload: bytes) -> PayloadReference:
        """Keep a payload; see `PayloadStore.put`."""
        sha256 = await trio.to_thread.run_sync(hashlib.sha256, payload)
        try:
            await self._session.call(self._put, name, payload, digest_text(sha256.digest()))
        except (OutcomeUnknownError, StreamMissingError) as error:
            # Storing it again does no harm, whatever became of it.
            raise SinkUnavailableError(error.message, remedy=error.remedy) from error
        except SinkRefusedError as error:
            raise SinkRefusedError(
                f"a payload over the limit can't be kept in the object store: {error.message}",
                remedy=f"{error.remedy or 'cure that'}, or set NATS_OVERSIZE to another policy",
                code=error.code,
            ) from error
        return PayloadReference(
            bucket=self._bucket.name, object=name, bytes=len(payload), sha256=sha256.hexdigest()
        )

    # --- on the asyncio side --------------------------------------------------------------------

    async def _put(self, client: Client, name: str, payload: bytes, digest: str) -> None:
        found = await self._find(client, name)
        if (
            found is not None
            and (found.size_bytes, found.digest) == (len(payload), digest)
            and datetime.now(UTC) - found.stored_at < REUSED_FOR
        ):
            return
        # A subject of its own: another instance may be storing the same payload.
        chunks_subject = self._bucket.chunks_subject(name, self._nuid.next().decode())
        size = min(_CHUNK_BYTES, self._session.max_payload_bytes // 2)
        chunks = range(0, len(payload), size)
        try:
            for begin in chunks:
                await self._store(client, chunks_subject, payload[begin : begin + size])
            meta = self._bucket.meta(
                name,
                chunks_subject=chunks_subject,
                size=len(payload),
                chunks=len(chunks),
                digest=digest,
            )
            subject = self._bucket.meta_subject(name)
            await self._store(client, subject, meta, headers={"Nats-Rollup": "sub"})
        except (SinkError, OSError, nats.errors.Error):
            # Else each further attempt would fill the disk a little more. The sweep finds the rest.
            with suppress(SinkError, OSError, nats.errors.Error):
                await self._purge(client, chunks_subject)
            raise
        if found is not None:
            await self._purge(client, found.chunks_subject)

    async def _find(self, client: Client, name: str) -> StoredObject | None:
        """Return what is stored under `name`; make the bucket if there is none."""
        subject = self._bucket.meta_subject(name)
        reply = await self._of_bucket.query(client, "STREAM.MSG.GET", {"last_by_subj": subject})
        if error_code(reply) == NO_MESSAGE:
            return None
        if error_code(reply) == STREAM_NOT_FOUND:
            await self._make_bucket(client)
            return None
        raise_error(reply, stream=self._bucket.stream)
        message = reply["message"]
        assert isinstance(message, dict)  # noqa: S101 - JetStream's own format
        return self._bucket.read_meta(message)

    async def _make_bucket(self, client: Client) -> None:
        of_stream = await self._of_stream.query(client, "STREAM.INFO")
        raise_error(of_stream, stream=self._of_stream.stream)
        config = of_stream["config"]
        assert isinstance(config, dict)  # noqa: S101 - JetStream's own format
        reply = await self._of_bucket.query(client, "STREAM.CREATE", self._bucket.config(config))
        raise_error(reply, stream=self._bucket.stream)

    async def _store(
        self,
        client: Client,
        subject: str,
        payload: bytes,
        *,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        reply = await self._of_bucket.request(client, subject, payload, headers)
        raise_error(reply, stream=self._bucket.stream)

    async def _purge(self, client: Client, subject: str) -> None:
        reply = await self._of_bucket.query(client, "STREAM.PURGE", {"filter": subject})
        raise_error(reply, stream=self._bucket.stream)
