"""The one tree of errors: who is at fault, what heals it, and what a person can do.

A driver translates its library's errors into these at the border. No message holds a document, a
resume token or a credential.
"""

from __future__ import annotations

from enum import Enum
from typing import ClassVar

__all__ = [
    "CheckpointError",
    "CheckpointRefusedError",
    "CheckpointUnavailableError",
    "ClusterError",
    "ConfigError",
    "DuplicateInBatchError",
    "EventTooLargeError",
    "FenceLostError",
    "ForeignPositionError",
    "ImageMissingError",
    "InstanceError",
    "MncError",
    "NotOwnerError",
    "OutcomeUnknownError",
    "PayloadTooLargeError",
    "PipelineRefusedError",
    "PositionLostError",
    "Recovery",
    "SinkError",
    "SinkRefusedError",
    "SinkUnavailableError",
    "SourceError",
    "SourceRefusedError",
    "SourceUnavailableError",
    "StreamFullError",
    "StreamMissingError",
]


class Recovery(Enum):
    """What the supervisor does with a lane that failed."""

    RETRY = "retry"
    """Restart from the persisted position, with backoff: the world heals by itself."""

    RECONNECT = "reconnect"
    """The same every few seconds: a server is away, and once it is back no time should be lost."""

    WAIT = "wait"
    """The same at the longest delay: a person must act, and what they do is noticed."""

    STOP = "stop"
    """Stay down: going on would lose events, and only a person may decide that."""


class MncError(Exception):
    """The root of every error that mnc raises on purpose.

    `kind` is the label in metrics and in `/status`. `remedy` says what a person can do, with the
    setting's name, or is empty when nothing needs doing.
    """

    recovery: ClassVar[Recovery] = Recovery.RETRY
    kind: ClassVar[str] = "internal"

    def __init__(self, message: str, *, remedy: str = "", code: int | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.remedy = remedy
        self.code = code
        """The server's error code, where a server said it."""

    def __str__(self) -> str:
        return f"{self.message}; {self.remedy}" if self.remedy else self.message


class ConfigError(MncError):
    """A setting is missing or wrong; the process ends with exit code 2."""

    recovery = Recovery.STOP
    kind = "config"

    def __init__(self, setting: str, problem: str, *, remedy: str = "") -> None:
        super().__init__(f"{setting}: {problem}", remedy=remedy)
        self.setting = setting


class ClusterError(MncError):
    """This instance's Raft state can't be read or stored: it must not vote any more."""

    recovery = Recovery.STOP
    kind = "cluster"


class InstanceError(MncError):
    """An instance of mnc can't be asked, or answers with something else than its status."""

    kind = "instance"


class SourceError(MncError):
    """Capture failed."""

    kind = "source"


class SourceUnavailableError(SourceError):
    """MongoDB can't be reached, has no primary, or closed the cursor."""

    recovery = Recovery.RECONNECT
    kind = "source_unavailable"


class SourceRefusedError(SourceError):
    """MongoDB answers and refuses: privileges, credentials, or no replica set."""

    recovery = Recovery.WAIT
    kind = "source_refused"


class EventTooLargeError(SourceError):
    """A change event is larger than MongoDB can return (16 MiB with what the server adds)."""

    recovery = Recovery.WAIT
    kind = "event_too_large"


class ImageMissingError(SourceError):
    """A change event has no pre- or post-image, and the settings require one."""

    recovery = Recovery.WAIT
    kind = "image_missing"


class PipelineRefusedError(SourceError):
    """MongoDB can't do what MONGO_PIPELINE asks of it, ever or with one change event."""

    recovery = Recovery.WAIT
    kind = "pipeline_refused"


class PositionLostError(SourceError):
    """The oplog no longer reaches back to the position to resume from, or its token is dead.

    MONGO_ON_HISTORY_LOST may say to go on without the events in between.
    """

    recovery = Recovery.STOP
    kind = "position_lost"


class ForeignPositionError(SourceError):
    """The position is not of this MongoDB: no policy may skip what another one had."""

    recovery = Recovery.STOP
    kind = "position_foreign"


class SinkError(MncError):
    """Publishing failed."""

    kind = "sink"


class SinkUnavailableError(SinkError):
    """NATS or JetStream can't be reached; nothing is known to be wrong with what was sent."""

    recovery = Recovery.RECONNECT
    kind = "sink_unavailable"


class OutcomeUnknownError(SinkError):
    """A batch was sent and no answer came: it may be stored or not. Read the marker again."""

    kind = "outcome_unknown"


class FenceLostError(SinkError):
    """The position marker is not where this writer left it: another writer is at work."""

    kind = "fence_lost"


class NotOwnerError(SinkError):
    """The stream knows an owner of the collection that was appointed after this one.

    It heals when the cluster takes the collection from this instance, or appoints it anew.
    """

    kind = "not_owner"

    def __init__(self, message: str, *, found_epoch: int) -> None:
        super().__init__(message)
        self.found_epoch = found_epoch
        """The epoch that the collection's position has in the stream."""


class DuplicateInBatchError(SinkError):
    """The stream has a message of this batch already; JetStream doesn't say which."""

    kind = "duplicate_in_batch"


class StreamFullError(SinkError):
    """The stream is at its limit and discards new messages."""

    recovery = Recovery.WAIT
    kind = "stream_full"


class StreamMissingError(SinkError):
    """The stream was deleted; a lane's start creates it again."""

    kind = "stream_missing"


class PayloadTooLargeError(SinkError):
    """A message is larger than the broker's `max_payload`."""

    recovery = Recovery.WAIT
    kind = "payload_too_large"


class SinkRefusedError(SinkError):
    """NATS answers and refuses: permissions, the stream's settings, or a server too old."""

    recovery = Recovery.WAIT
    kind = "sink_refused"


class CheckpointError(MncError):
    """Reading or writing a token document failed."""

    kind = "checkpoint"


class CheckpointRefusedError(CheckpointError):
    """MongoDB answers and refuses to read or write a token document."""

    recovery = Recovery.WAIT
    kind = "checkpoint_refused"


class CheckpointUnavailableError(CheckpointError):
    """The token collection can't be read or written now."""

    recovery = Recovery.RECONNECT
    kind = "checkpoint_unavailable"
