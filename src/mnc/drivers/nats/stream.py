"""One JetStream stream behind the publish stage's port.

Theory of operation. `ensure` makes the stream ready and chooses the strongest way of publishing
that it allows (`Mode`): atomic batches, for which the server has to be new enough and the stream
has to have what they need, which is added where that is permitted; otherwise one of those that do
without, unless the settings refuse them. A lane keeps to the way that it was acquired with: another
one has other fences, so a lane that meets one starts again.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import assert_never

import structlog

from mnc.drivers.nats.atomic import AtomicWriter
from mnc.drivers.nats.chained import ChainedWriter
from mnc.drivers.nats.mode import Mode, mode_without_batches
from mnc.drivers.nats.replies import STREAM_NOT_FOUND, error_code, has_leader, raise_error
from mnc.drivers.nats.session import NatsSession
from mnc.drivers.nats.stream_api import StreamApi
from mnc.drivers.nats.stream_config import (
    BATCH_FLAGS,
    amended_config,
    new_config,
    obstacle,
    takes,
)
from mnc.encode.subject import StreamSubjects
from mnc.errors import (
    MncError,
    PayloadTooLargeError,
    SinkError,
    SinkRefusedError,
    SinkUnavailableError,
)
from mnc.model import Checkpoint, StreamSeq
from mnc.publish.ports import Batch

__all__ = ["JetStream", "has_batches", "too_old", "update_command"]

_FIRST_WITH_BATCHES = (2, 12, 0)
"""The first nats-server with atomic batches."""

_HEADER_NAMES_BYTES = 384
"""More than a message's header names, batch id and numbers take: 280 bytes, with the fence."""

_HEADER_LINE_BYTES = 4
"""A colon, a space, and the end of a header's line."""

_WHOLE_BATCH = 10_000
"""More messages than a batch has: a chain is as long as its batch."""


class JetStream:
    """One stream: made ready, read for positions, and written behind fences."""

    def __init__(
        self,
        session: NatsSession,
        *,
        stream: str,
        subjects: StreamSubjects,
        ack_timeout_s: float,
        require_fencing: bool = False,
    ) -> None:
        self._session = session
        self._stream = stream
        self._subjects = subjects
        self._require_fencing = require_fencing
        self._api = StreamApi(session, stream=stream, timeout_s=ack_timeout_s)
        self._mode: Mode | None = None
        self._writer: AtomicWriter | ChainedWriter = AtomicWriter(self._api)
        self._acquired_with: dict[str, AtomicWriter | ChainedWriter] = {}
        """What each collection was acquired with, by its marker's subject."""
        self._takes_dead_letters = True
        self._max_msg_bytes = -1
        """The stream's `max_msg_size`, as `ensure` found it; -1 is no limit."""
        self._log = structlog.get_logger().bind(stream=stream)

    @property
    def mode(self) -> Mode | None:
        """How events get into the stream; None until `ensure` has found out."""
        return self._mode

    async def wait_connected(self) -> None:
        """Return when there is a connection to NATS."""
        await self._session.wait_connected()

    async def check(self) -> None:
        """Ask JetStream for the stream. Raises SinkError when no good answer comes.

        A stream that doesn't exist yet is a good answer: JetStream is there.
        """
        reply = await self._api.ask("STREAM.INFO")
        if error_code(reply) != STREAM_NOT_FOUND:
            raise_error(reply, stream=self._stream)
            if not has_leader(reply):
                raise SinkUnavailableError(f"stream {self._stream} has no leader now")

    async def prepare(self, failures: Collection[MncError]) -> None:
        """Make sure of what the lanes that start need, after their predecessors' `failures`.

        What is known to be good costs no question: a collection that moves here has to be captured
        soon. Waits for a connection. Raises as `ensure` does.

        Cancellation: as `ensure` says.
        """
        await self.wait_connected()
        if any(isinstance(failure, PayloadTooLargeError) for failure in failures):
            await self._session.refresh_limits()
        if self._mode is None or any(isinstance(failure, SinkError) for failure in failures):
            await self.ensure()

    async def ensure(self) -> None:
        """Create the stream, or add what it lacks; see `StreamPort.ensure`."""
        await self.wait_connected()
        found = await self._found()
        if found is not None and (blocked := obstacle(found)):
            problem, remedy = blocked
            raise SinkRefusedError(f"stream {self._stream} {problem}", remedy=remedy)
        try:
            config = await self._with_batches(found)
            self._choose(Mode.ATOMIC)
        except SinkRefusedError as refusal:
            if self._require_fencing:
                raise
            if has_batches(self._session) and (
                found is None or not takes(found, self._subjects.events)
            ):
                raise  # what was refused is needed without batches too
            config = await self._bring(found, (self._subjects.events,), flags=())
            self._choose(mode_without_batches(config), because=refusal)
        self._takes_dead_letters = takes(config, self._subjects.dead_letters)
        max_msg_bytes = config.get("max_msg_size", -1)
        assert isinstance(max_msg_bytes, int)  # noqa: S101 - JetStream's own format
        self._max_msg_bytes = max_msg_bytes

    async def read_marker(self, marker_subject: str) -> Checkpoint | None:
        """Return the collection's position; see `StreamPort.read_marker`."""
        return await self._writer.read_marker(marker_subject)

    async def read_position(self, marker_subject: str) -> Checkpoint | None:
        """Return the position to acquire; see `StreamPort.read_position`."""
        writer = self._writer
        position = await writer.read_position(marker_subject)
        self._acquired_with[marker_subject] = writer
        return position

    async def publish(self, batch: Batch) -> StreamSeq:
        """Store a batch behind its fence; see `StreamPort.publish`."""
        self._check_sizes(batch)
        self._check_dead_letters(batch)
        writer = self._acquired_with.get(batch.marker_subject, self._writer)
        if writer is not self._writer:
            raise SinkError("how to publish to the stream has changed: the position is read again")
        try:
            return await writer.publish(batch)
        except SinkError as error:
            # JetStream misses a message that the user may not publish, and can't say why.
            if denial := self._session.denial(event.subject for event in batch.events):
                raise denial from error
            raise

    # --- making it ready ------------------------------------------------------------------------

    def _choose(self, mode: Mode, *, because: SinkRefusedError | None = None) -> None:
        """Publish in `mode` from now on; log a change, and why the mode isn't a stronger one."""
        if mode is self._mode:
            return
        match mode:
            case Mode.ATOMIC:
                self._writer = AtomicWriter(self._api)
            case Mode.CHAINED:
                self._writer = ChainedWriter(self._api, window=_WHOLE_BATCH)
            case Mode.SEQUENTIAL:
                self._writer = ChainedWriter(self._api, window=1)
            case _:
                assert_never(mode)
        if because is not None:
            self._log.warning(
                "stream.mode_chosen",
                mode=mode.value,
                not_promised=mode.not_promised,
                reason=because.message,
                remedy=because.remedy,
            )
        else:
            self._log.info("stream.mode_chosen", mode=mode.value)
        self._mode = mode

    async def _found(self) -> Mapping[str, object] | None:
        """Return the stream's configuration, or None when it doesn't exist. Raises SinkError."""
        reply = await self._api.ask("STREAM.INFO")
        if error_code(reply) == STREAM_NOT_FOUND:
            return None
        return self._config_of(reply)

    async def _with_batches(self, found: Mapping[str, object] | None) -> Mapping[str, object]:
        """Bring the stream to what atomic batches need. Raises SinkRefusedError if it can't be."""
        if not has_batches(self._session):
            raise too_old(self._session)
        needed = (self._subjects.events, self._subjects.markers)
        config = await self._bring(found, needed, flags=BATCH_FLAGS)
        if amended_config(config, needed) is not None:
            raise SinkRefusedError(
                "a nats-server of the cluster is older than 2.12, and has no atomic batches",
                remedy="run nats-server 2.12 or newer, all of them",
            )
        return config

    async def _bring(
        self,
        found: Mapping[str, object] | None,
        needed: Sequence[str],
        *,
        flags: Sequence[str],
    ) -> Mapping[str, object]:
        """Create the stream, or add to it what it lacks; return its configuration.

        A place for dead letters is added too, but isn't insisted on.
        """
        subjects = (*needed, self._subjects.dead_letters)
        if found is None:
            verb, config = "CREATE", new_config(self._stream, subjects, flags=flags)
        else:
            amended = amended_config(found, subjects, flags=flags)
            if amended is None:
                return found
            verb, config = "UPDATE", amended
        try:
            return self._config_of(await self._api.ask(f"STREAM.{verb}", config))
        except SinkRefusedError as error:
            if found is not None and amended_config(found, needed, flags=flags) is None:
                return found
            raise SinkRefusedError(
                f"can't {verb.lower()} stream {self._stream}: {error.message}",
                remedy=_remedy(error, _command(verb, config, flags)),
                code=error.code,
            ) from error

    def _config_of(self, reply: dict[str, object]) -> Mapping[str, object]:
        raise_error(reply, stream=self._stream)
        config = reply["config"]
        assert isinstance(config, dict)  # noqa: S101 - JetStream's own format
        return config

    def _check_dead_letters(self, batch: Batch) -> None:
        """Raise SinkRefusedError for a dead letter that the stream has no subject for."""
        # Sent all the same, nobody would answer.
        error = next((event.dead_letter for event in batch.events if event.dead_letter), None)
        if error is not None and not self._takes_dead_letters:
            raise SinkRefusedError(
                f"stream {self._stream} takes no dead letters; one is due: {error.message}",
                remedy=f"add {self._subjects.dead_letters} to the stream's subjects",
            )

    def _check_sizes(self, batch: Batch) -> None:
        """Raise PayloadTooLargeError for an event that the broker or the stream won't take."""
        # Sent all the same, it would close the connection, or go missing from the batch unnamed.
        limits = [
            (
                self._session.max_payload_bytes,
                "the broker's max_payload",
                "raise max_payload in nats-server's configuration (at most 64MB)",
            )
        ]
        if self._max_msg_bytes > 0:
            name = self._stream
            remedy = f"run: nats stream edit {name} --max-msg-size=-1"
            limits.append((self._max_msg_bytes, f"max_msg_size of stream {name}", remedy))
        # A message of a chain has the id of the one before it, too.
        longest_id = max((len(event.message_id) for event in batch.events), default=0)
        shared = _HEADER_NAMES_BYTES + 2 * longest_id + len(batch.marker_subject)
        shared += _lines_bytes(batch.headers.items())
        lowest, what, remedy = min(limits)
        for event in batch.events:
            size = len(event.payload) + len(event.subject) + shared
            if event.headers:
                size += _lines_bytes(event.headers)
            if size > lowest:
                what, remedy = next(
                    (what, remedy) for limit, what, remedy in limits if size > limit
                )
                raise PayloadTooLargeError(
                    f"an event of {len(event.payload)} bytes is over {what}", remedy=remedy
                )


def has_batches(session: NatsSession) -> bool:
    """Say whether the server that `session` is connected to has atomic batches."""
    return session.server_version >= _FIRST_WITH_BATCHES


def too_old(session: NatsSession) -> SinkRefusedError:
    """Return the error that says that the server has no atomic batches."""
    version = ".".join(map(str, session.server_version))
    return SinkRefusedError(
        f"nats-server {version} has no atomic batches", remedy="run nats-server 2.12 or newer"
    )


def update_command(config: Mapping[str, object], subjects: Sequence[str]) -> str:
    """Return the command that gives a stream with `config` what atomic batches need."""
    return _command("UPDATE", amended_config(config, subjects) or config, BATCH_FLAGS)


def _lines_bytes(headers: Iterable[tuple[str, str]]) -> int:
    return sum(len(name) + len(value) + _HEADER_LINE_BYTES for name, value in headers)


def _remedy(error: SinkRefusedError, command: str) -> str:
    """Return what heals a refusal to change the stream: JetStream's reason goes first."""
    if error.remedy and error.code is not None:
        return error.remedy
    either = f"{error.remedy}; or " if error.remedy else ""
    return f"{either}an operator can run: {command}"


def _command(verb: str, config: Mapping[str, object], flags: Sequence[str]) -> str:
    """Return the command that brings the stream to `config`."""
    action = "add" if verb == "CREATE" else "edit"
    subjects = config["subjects"]
    assert isinstance(subjects, list)  # noqa: S101 - made by stream_config
    options = "".join(f" {_OPTIONS[flag]}" for flag in flags)
    return f"nats stream {action} {config['name']} --subjects '{','.join(subjects)}'{options}"


_OPTIONS = {
    "allow_atomic": "--allow-batch",
    "allow_rollup_hdrs": "--allow-rollup",
    "allow_msg_ttl": "--allow-msg-ttl",
}
