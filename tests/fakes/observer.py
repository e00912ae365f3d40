"""An observer that remembers what it hears."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Sequence

from mnc.capture.completeness import Lack
from mnc.errors import CheckpointError, SinkError
from mnc.model import Checkpoint, EncodedEvent
from mnc.publish.ports import Batch

__all__ = ["RecordingObserver"]


class RecordingObserver:
    """Hears what a reader, a publisher and a keeper do."""

    def __init__(self) -> None:
        self.openings: list[Collection[str]] = []
        self.captures: Counter[str] = Counter()
        self.lacks: Counter[tuple[str, Lack]] = Counter()
        self.waits_s = defaultdict[str, float](float)
        self.batches: list[Batch] = []
        self.recoveries: list[EncodedEvent] = []
        self.retries: list[SinkError] = []
        self.checkpoints: list[Checkpoint] = []
        self.checkpoint_failures: list[CheckpointError] = []
        self.settled_times = 0

    def opened(self, collections: Collection[str], /) -> None:
        """Remember the collections."""
        self.openings.append(collections)

    def captured(self, collection: str, events: int, /) -> None:
        """Add up the events."""
        self.captures[collection] += events

    def lacked(self, collection: str, lack: Lack, events: int, /) -> None:
        """Add up the events that lack something."""
        self.lacks[collection, lack] += events

    def waited(self, collection: str, seconds: float, /) -> None:
        """Add up the seconds."""
        self.waits_s[collection] += seconds

    def published(self, batch: Batch, /, *, ack_s: float) -> None:
        """Remember the batch."""
        assert ack_s >= 0
        self.batches.append(batch)

    def recovered(self, events: Sequence[EncodedEvent], /) -> None:
        """Remember the events."""
        self.recoveries.extend(events)

    def retrying(self, error: SinkError, /) -> None:
        """Remember the error."""
        self.retries.append(error)

    def checkpointed(self, checkpoint: Checkpoint, /) -> None:
        """Remember the checkpoint."""
        self.checkpoints.append(checkpoint)

    def checkpoint_failed(self, error: CheckpointError, /) -> None:
        """Remember the error."""
        self.checkpoint_failures.append(error)

    def settled(self) -> None:
        """Count that everything captured is stored."""
        self.settled_times += 1
