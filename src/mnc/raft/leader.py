"""What a leader does in its term: replicate, commit, keep its lease, hand over.

Time is the number of ticks since the election. A message carries the tick at which it was sent as
its *round*, and the answer repeats it; so each answer tells since when a follower has been heard,
counted from the sending, and one number serves the lease and the check of the quorum.
"""

from __future__ import annotations

from dataclasses import dataclass

from mnc.raft.errors import Refusal, RefusedError
from mnc.raft.log import Log
from mnc.raft.membership import Change, Promote, Remove, changed
from mnc.raft.messages import (
    Appended,
    AppendEntries,
    Conflict,
    InstallSnapshot,
    Message,
    TimeoutNow,
)
from mnc.raft.progress import NO_ROUND, Progress
from mnc.raft.settings import RaftSettings
from mnc.raft.types import Entry, NodeId, NoOp, Payload

__all__ = ["Leadership", "Transfer"]


@dataclass(slots=True, kw_only=True)
class Transfer:
    """A handover of the leadership that is under way (dissertation §3.10)."""

    target: NodeId
    began_tick: int
    asked: bool = False
    """Whether TimeoutNow was sent: the target may be elected from then on, however late it is."""


class Leadership:
    """A leader's state in one term.

    Invariants: there is one of these for a term in the whole group (election safety, paper §5.2).
    Its log is only appended to. It is a voter of the newest configuration. Once it has asked a
    node to take over it has no lease any more.
    """

    __slots__ = ("_log", "_node", "_now", "_outbox", "_settings", "_term", "followers", "transfer")

    def __init__(
        self,
        *,
        node: NodeId,
        term: int,
        log: Log,
        settings: RaftSettings,
        outbox: list[Message],
    ) -> None:
        self._node = node
        self._term = term
        self._log = log
        self._settings = settings
        self._outbox = outbox
        self._now = 0
        self.followers: dict[NodeId, Progress] = {}
        """Everybody who is sent the log, also who was removed until that is committed."""
        self.transfer: Transfer | None = None
        # Entries of earlier terms are committed through the first one of this (paper §5.4.2, §8).
        self._append(NoOp())

    # What time does

    def tick(self) -> None:
        """Count a tick; send the heartbeat when it is due."""
        self._now += 1
        if self._now % self._settings.heartbeat_ticks == 0:
            self._broadcast()

    @property
    def has_lost_quorum(self) -> bool:
        """Whether no majority has answered for the longest election time-out (dissertation §6.2).

        Before that some follower may still be waiting for it, and the lease ends sooner anyway.
        """
        return self._now - self._quorum_round() >= 2 * self._settings.min_election_ticks

    @property
    def transfer_has_expired(self) -> bool:
        """Whether a transfer has taken an election time-out already (dissertation §3.10)."""
        transfer = self.transfer
        return (
            transfer is not None
            and self._now - transfer.began_tick >= self._settings.min_election_ticks
        )

    @property
    def lease_is_valid(self) -> bool:
        """Whether no other node can be leader now (dissertation §6.4.1).

        Counted from the sending of the newest round that a majority answered, never from the
        election: voters begin to ignore candidates when they hear the leader, not when they vote.
        """
        round_ = self._quorum_round()
        return (
            round_ != NO_ROUND
            and self._now - round_ < self._settings.lease_ticks
            and not (self.transfer is not None and self.transfer.asked)
        )

    # What the driver asks for

    def propose(self, payload: Payload) -> Entry:
        """Append an entry and send it."""
        if self.transfer is not None:
            raise RefusedError(Refusal.TRANSFERRING)
        return self._append(payload)

    def change_membership(self, change: Change) -> Entry:
        """Append the configuration after `change`; it counts from now on (dissertation §4.1)."""
        log = self._log
        if not self._has_committed():
            raise RefusedError(Refusal.TERM_NOT_COMMITTED)
        if log.configuration_index > log.commit_index:
            raise RefusedError(Refusal.CHANGE_PENDING)
        configuration = changed(log.configuration, change)
        match change:
            case Promote(node) if self.followers[node].match_index < log.commit_index:
                raise RefusedError(Refusal.NOT_CAUGHT_UP)
            case Remove(node) if node == self._node:
                # A leader outside its own configuration would need rules of its own (§4.2.2).
                raise RefusedError(Refusal.IS_LEADER)
            case _:
                return self.propose(configuration)

    def transfer_to(self, target: NodeId) -> None:
        """Hand over to `target` as soon as its log is complete (dissertation §3.10)."""
        if self.transfer is not None:
            raise RefusedError(Refusal.TRANSFERRING)
        if target == self._node:
            raise RefusedError(Refusal.IS_LEADER)
        if target not in self._log.configuration.voters:
            raise RefusedError(Refusal.NOT_VOTER)
        self.transfer = Transfer(target=target, began_tick=self._now)
        self._ask_to_take_over()

    # What the followers answer

    def on_appended(self, message: Appended) -> None:
        """Count what a follower has stored."""
        progress = self.followers.get(message.sender)
        if progress is None:
            return
        progress.answered_round = max(progress.answered_round, message.round)
        progress.matched(message.match_index)
        if message.match_index > self._log.commit_index:
            self._advance_commit()
        self._replicate(message.sender, progress)
        self._ask_to_take_over()

    def on_conflict(self, message: Conflict) -> None:
        """Go back to where the follower's log may match (paper, end of §5.3)."""
        progress = self.followers.get(message.sender)
        if progress is None:
            return
        progress.answered_round = max(progress.answered_round, message.round)
        if message.previous_index <= progress.match_index:
            return  # an old answer: it has matched meanwhile
        term, next_index = message.conflict_term, message.conflict_index
        if term is not None:
            last = self._log.last_of_term(term, before=message.previous_index)
            next_index = next_index if last is None else last + 1
        progress.probe(next_index)
        self._send(message.sender, progress)

    # The rest

    def _append(self, payload: Payload) -> Entry:
        entry = self._log.append(self._term, payload)
        self._follow_configuration()
        for follower, progress in self.followers.items():
            self._replicate(follower, progress)
        self._advance_commit()
        return entry

    def _follow_configuration(self) -> None:
        """Know everybody in the configuration, and forget who was removed once that is certain."""
        log = self._log
        members = log.configuration.members
        # Sorted, so that the same steps lead to the same messages in every process.
        for member in sorted(members - self.followers.keys() - {self._node}):
            self.followers[member] = Progress(
                next_index=log.last_index,
                max_inflight=self._settings.max_inflight_appends,
            )
        if log.configuration_index <= log.commit_index:
            for removed in self.followers.keys() - members:
                del self.followers[removed]

    def _quorum_round(self) -> int:
        """Return the newest round that a majority has answered; the leader answers at once."""
        voters = self._log.configuration.voters
        rounds = [known.answered_round for node, known in self.followers.items() if node in voters]
        return _reached_by_quorum([self._now, *rounds])

    def _quorum_match(self) -> int:
        """Return the last entry that a majority has stored.

        The leader counts its own log before it is on the disk: its messages, so the others'
        answers too, and what it applies come after the sync (`Raft.take_ready`).
        """
        voters = self._log.configuration.voters
        matches = [known.match_index for node, known in self.followers.items() if node in voters]
        return _reached_by_quorum([self._log.last_index, *matches])

    def _advance_commit(self) -> None:
        """Commit what a majority has, if it is of this term (paper §5.4.2, figure 8)."""
        log = self._log
        index = self._quorum_match()
        if index <= log.commit_index or not self._may_commit(index):
            return
        log.commit(index)
        self._broadcast()  # so that the others apply it now; and who was removed knows it
        self._follow_configuration()

    def _may_commit(self, index: int) -> bool:
        """Say whether counting replicas commits this entry: not one of an earlier term."""
        return self._log.term_at(index) == self._term

    def _has_committed(self) -> bool:
        """Say whether an entry of this term is committed.

        Without that, two leaders could each change the same committed configuration, and find
        majorities that have nobody in common.
        """
        return self._log.term_at(self._log.commit_index) == self._term

    def _ask_to_take_over(self) -> None:
        transfer = self.transfer
        if transfer is None or transfer.asked:
            return
        if self.followers[transfer.target].match_index == self._log.last_index:
            transfer.asked = True
            self._outbox.append(
                TimeoutNow(sender=self._node, receiver=transfer.target, term=self._term)
            )

    def _broadcast(self) -> None:
        for follower, progress in self.followers.items():
            self._send(follower, progress)

    def _replicate(self, follower: NodeId, progress: Progress) -> None:
        """Send the entries that the follower lacks, as many as may be in flight."""
        while progress.next_index <= self._log.last_index and progress.may_send:
            self._send(follower, progress, max_entries=self._settings.max_entries_per_append)

    def _send(self, follower: NodeId, progress: Progress, *, max_entries: int = 0) -> None:
        """Send the next entries, or the snapshot to whom needs what is compacted."""
        log = self._log
        previous_index = progress.next_index - 1
        previous_term = log.term_at(previous_index)
        if previous_term is None:
            # Probing after it, at each heartbeat, finds out whether it has arrived.
            progress.probe(log.snapshot.index + 1)
            self._outbox.append(
                InstallSnapshot(
                    sender=self._node,
                    receiver=follower,
                    term=self._term,
                    round=self._now,
                    snapshot=log.snapshot,
                )
            )
            return
        entries = (
            log.batch(
                progress.next_index,
                max_entries=max_entries,
                max_bytes=self._settings.max_append_bytes,
            )
            if max_entries
            else ()
        )
        self._outbox.append(
            AppendEntries(
                sender=self._node,
                receiver=follower,
                term=self._term,
                round=self._now,
                previous_index=previous_index,
                previous_term=previous_term,
                entries=entries,
                commit_index=log.commit_index,
            )
        )
        if entries:
            progress.sent(entries[-1].index)


def _reached_by_quorum(reached: list[int]) -> int:
    reached.sort(reverse=True)
    return reached[len(reached) // 2]
