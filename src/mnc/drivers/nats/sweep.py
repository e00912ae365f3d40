"""Removing from the bucket of large payloads what no message refers to.

Theory of operation. A payload is stored before the message that refers to it, so a crash in between
leaves an object, and one in the middle leaves chunks without an object. The next attempt to publish
the event uses the object, or stores another one. What is left is found by its age: chunks that no
meta names, and objects that were stored well before the oldest message. Nothing younger than
`min_age` is touched, so that an attempt under way, of whichever instance, is not disturbed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from itertools import islice
from typing import Final

import structlog
import trio
from nats.aio.client import Client

from mnc.drivers.nats.bucket import Bucket, parse_time
from mnc.drivers.nats.replies import (
    NO_MESSAGE,
    STREAM_NOT_FOUND,
    error_code,
    raise_error,
)
from mnc.drivers.nats.session import NatsSession
from mnc.drivers.nats.stream_api import StreamApi
from mnc.encode.subject import event_filters
from mnc.errors import SinkError, SinkUnavailableError

__all__ = ["PayloadSweeper"]

_INTERVAL_S: Final = 600.0
_TIMEOUT_S: Final = 5.0

_MIN_AGE: Final = timedelta(hours=1)
"""Well over `REUSED_FOR`, and over the time that one attempt to publish can take."""

_MAX_REMOVED: Final = 1000
"""Of each kind in one sweep: about two seconds of requests."""


class PayloadSweeper:
    """Sweeps the bucket of one stream, now and then. Safe with several instances at once."""

    def __init__(self, session: NatsSession, *, stream: str, min_age: timedelta = _MIN_AGE) -> None:
        self._session = session
        self._stream = stream
        self._bucket = Bucket.of_stream(stream)
        self._of_stream = StreamApi(session, stream=stream, timeout_s=_TIMEOUT_S)
        self._of_bucket = StreamApi(session, stream=self._bucket.stream, timeout_s=_TIMEOUT_S)
        self._min_age = min_age
        self._log = structlog.get_logger().bind(stream=stream)

    async def run(self) -> None:
        """Sweep at once and every ten minutes, until cancelled. A sweep that fails is logged.

        Cancellation: a sweep is left where it is; the next one goes on.
        """
        while True:
            await self._session.wait_connected()
            try:
                removed = await self.sweep()
            except SinkUnavailableError as error:
                self._log.debug("payloads.sweep_failed", kind=error.kind, error=str(error))
            except SinkError as error:
                self._log.warning("payloads.sweep_failed", kind=error.kind, error=str(error))
            else:
                if removed:
                    self._log.info("payloads.swept", removed=removed)
            await trio.sleep(_INTERVAL_S)

    async def sweep(self) -> int:
        """Remove what nothing refers to; return how many objects and rows of chunks that were.

        Raises SinkError.

        Cancellation: a part is removed.
        """
        return await self._session.call(self._sweep)

    # --- on the asyncio side --------------------------------------------------------------------

    async def _sweep(self, client: Client) -> int:
        reply = await self._of_bucket.query(client, "STREAM.INFO")
        if error_code(reply) == STREAM_NOT_FOUND:
            return 0
        raise_error(reply, stream=self._bucket.stream)
        now = parse_time(str(reply["ts"]))
        return await self._sweep_objects(client, now) + await self._sweep_chunks(client, now)

    async def _sweep_objects(self, client: Client, now: datetime) -> int:
        """Remove the objects that are older than every message."""
        # An object is a little older than the message that refers to it.
        horizon = min(now, await self._oldest_message_at(client, now)) - self._min_age
        next_seq, removed = 1, 0
        while removed < _MAX_REMOVED:
            found = await self._message(
                client,
                self._of_bucket,
                {"seq": next_seq, "next_by_subj": self._bucket.all_metas},
            )
            if found is None or parse_time(str(found["time"])) >= horizon:
                break
            stored = self._bucket.read_meta(found)
            await self._purge(client, str(found["subject"]))
            if stored is not None:
                await self._purge(client, stored.chunks_subject)
            next_seq = int(str(found["seq"])) + 1
            removed += 1
        return removed

    async def _oldest_message_at(self, client: Client, default: datetime) -> datetime:
        """Return when the oldest message was stored that may have a reference."""
        oldest = default
        for subject in event_filters(self._stream):
            query = {"seq": 1, "next_by_subj": subject}
            found = await self._message(client, self._of_stream, query)
            if found is not None:
                oldest = min(oldest, parse_time(str(found["time"])))
        return oldest

    async def _sweep_chunks(self, client: Client, now: datetime) -> int:
        """Remove the chunks that no object has."""
        chunks = await self._subjects(client, self._bucket.all_chunks)
        metas = await self._subjects(client, self._bucket.all_metas)
        removed = 0
        for subject in islice(self._bucket.doubtful_chunks(chunks, metas), _MAX_REMOVED):
            last = await self._message(client, self._of_bucket, {"last_by_subj": subject})
            if last is None or now - parse_time(str(last["time"])) < self._min_age:
                continue
            if subject != await self._chunks_in_use(client, subject):
                await self._purge(client, subject)
                removed += 1
        return removed

    async def _chunks_in_use(self, client: Client, subject: str) -> str | None:
        """Return the subject of the chunks that the object has which `subject` is for."""
        query = {"last_by_subj": self._bucket.owner_of_chunks(subject)}
        meta = await self._message(client, self._of_bucket, query)
        stored = None if meta is None else self._bucket.read_meta(meta)
        return None if stored is None else stored.chunks_subject

    async def _subjects(self, client: Client, subject_filter: str) -> Sequence[str]:
        """Return the bucket's subjects, which come in pages."""
        subjects: list[str] = []
        while True:
            query = {"subjects_filter": subject_filter, "offset": len(subjects)}
            reply = await self._of_bucket.query(client, "STREAM.INFO", query)
            raise_error(reply, stream=self._bucket.stream)
            state = reply["state"]
            assert isinstance(state, dict)  # noqa: S101 - JetStream's own format
            page = state.get("subjects") or {}
            subjects += page
            total = reply.get("total")
            if not page or not isinstance(total, int) or len(subjects) >= total:
                return subjects

    async def _message(
        self, client: Client, api: StreamApi, query: Mapping[str, object]
    ) -> dict[str, object] | None:
        reply = await api.query(client, "STREAM.MSG.GET", query)
        if error_code(reply) == NO_MESSAGE:
            return None
        raise_error(reply, stream=api.stream)
        message = reply["message"]
        assert isinstance(message, dict)  # noqa: S101 - JetStream's own format
        return message

    async def _purge(self, client: Client, subject: str) -> None:
        reply = await self._of_bucket.query(client, "STREAM.PURGE", {"filter": subject})
        raise_error(reply, stream=self._bucket.stream)
