"""One member of a Raft group, without clock, randomness or I/O.

The package's docstring shows how to drive it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from mnc.raft.errors import Refusal, RefusedError
from mnc.raft.leader import Leadership
from mnc.raft.log import Log
from mnc.raft.loyalty import Loyalty
from mnc.raft.membership import Change
from mnc.raft.messages import (
    Appended,
    AppendEntries,
    Ballot,
    Conflict,
    InstallSnapshot,
    Message,
    RequestVote,
    StaleTerm,
    TimeoutNow,
    Vote,
)
from mnc.raft.ready import Ready
from mnc.raft.settings import RaftSettings
from mnc.raft.states import Following, Polling, State, describe
from mnc.raft.types import (
    Configuration,
    Entry,
    HardState,
    NodeId,
    Persisted,
    Snapshot,
)

__all__ = ["Raft"]

_SUCCESSION_TICKS = 2
"""After so many ticks the next voter tries to succeed a leader that is gone. The first of them may
come at once, so it's one in which the voter before it can be elected."""


class Raft:
    """A member of the group.

    Give it what happens (`step`, `tick`, `propose`, ...), then handle each `take_ready` completely,
    one after the other. It may be given more meanwhile; what follows waits for the next Ready.

    Invariants: the term never decreases; at most one vote is given in a term; a change of either is
    in the Ready that goes before every message that depends on it. Only a voter of its own newest
    configuration is ever a candidate.
    """

    def __init__(
        self,
        node: NodeId,
        *,
        persisted: Persisted,
        settings: RaftSettings,
        election_timeout_ticks: Callable[[], int],
    ) -> None:
        """Start, or start again, from what is on the disk.

        `election_timeout_ticks` is called whenever a time-out is needed, and returns a random one
        of at least `settings.min_election_ticks`; twice that is a good upper end (paper §9.3).
        """
        self.node = node
        self._settings = settings
        self._draw_timeout = election_timeout_ticks
        self._log = Log(persisted.snapshot, persisted.entries)
        self._term = persisted.hard_state.term
        self._vote = persisted.hard_state.vote
        self._stored = persisted.hard_state
        self._outbox: list[Message] = []
        self._installed: Snapshot | None = None
        self.applied_index = persisted.snapshot.index
        """The last entry that the driver has applied, as `advance` said."""
        self._handed_index = persisted.snapshot.index
        self._is_handling = False
        self._loyalty = Loyalty(shortest_ticks=settings.min_election_ticks)
        self._state: State = Following(leader=None)
        self.soft_state = self._handed_soft_state = describe(
            self._state, node=node, term=self._term
        )
        self._restart_timer()

    # What is asked of it

    def tick(self) -> None:
        """Count one tick of time.

        Call it for time that has passed, not for turns of a loop: after a pause, as often as ticks
        were missed, BEFORE anything else. `lease_is_valid` is as true as the ticks are.
        """
        self._loyalty.tick()
        if isinstance(self._state, Leadership):
            self._tick_leader(self._state)
            return
        self._ticks_waited += 1
        if self._ticks_waited >= self._timeout_ticks:
            self._restart_timer()
            if self.node in self._log.configuration.voters:
                self._campaign(Ballot.PRE_VOTE)
            else:
                self._become(Following(leader=None))

    def step(self, message: Message) -> None:
        """Take a message from another node, as it was sent."""
        match message:
            case AppendEntries():
                if self._hears(message):
                    self._on_append_entries(message)
            case Appended() if isinstance(self._state, Leadership) and message.term == self._term:
                self._state.on_appended(message)
            case Conflict() if isinstance(self._state, Leadership) and message.term == self._term:
                self._state.on_conflict(message)
            case RequestVote():
                self._on_request_vote(message)
            case Vote():
                self._on_vote(message)
            case InstallSnapshot():
                if self._hears(message):
                    self._on_install_snapshot(message)
            case TimeoutNow():
                self._on_timeout_now(message)
            case StaleTerm():
                self._see_term(message.term)
            case Appended() | Conflict():
                pass  # for a leadership that has passed

    def leader_is_gone(self, node: NodeId) -> None:
        """Take the driver's word that the process of `node` has ended; nothing unless it leads.

        This voter is loyal to it no longer and campaigns, without waiting for a time-out. Each
        voter has to learn it from its own driver; whoever learns it later answers then the
        candidate that it has ignored. A leader that is heard again is followed again.

        A true report breaks no lease: the process that had one is gone. After a wrong one another
        node may be elected while the leader still believes in its lease; all else stays safe.
        """
        if not isinstance(self._state, Following) or self._state.leader != node:
            return
        self._become(Following(leader=None))
        self._restart_timer()
        unheeded = self._loyalty.end()
        if unheeded is not None:
            self._on_request_vote(unheeded)
        # One after the other, and after who has begun already, or the votes would be split.
        successors = sorted(self._log.configuration.voters - {node})
        if self.node in successors:
            turn = successors.index(self.node) + (unheeded is not None)
            if turn > 0:
                self._timeout_ticks = turn * _SUCCESSION_TICKS
            else:
                self._campaign(Ballot.PRE_VOTE)

    def propose(self, command: bytes) -> Entry:
        """Append a command to the log and return its entry.

        It is committed when an entry of that index and that term comes to be applied, and lost when
        one of another term does. Raises RefusedError if this node is not the leader, or is handing
        over.
        """
        return self._leadership().propose(command)

    def change_membership(self, change: Change) -> Entry:
        """Add, promote or remove one node, and return the entry of the new configuration.

        Raises RefusedError as `propose`, if the last change or this term's first entry is not
        committed yet, if a learner lacks committed entries, or if the change makes no sense.
        """
        return self._leadership().change_membership(change)

    def transfer_leadership(self, target: NodeId) -> None:
        """Make the voter `target` leader, without waiting for an election time-out.

        Proposals are refused until it has happened or failed, after `min_election_ticks` at the
        latest. Raises RefusedError if this node is not the leader, is handing over already, or
        `target` is no other voter.
        """
        self._leadership().transfer_to(target)

    def compact(self, index: int, data: bytes) -> Snapshot:
        """Forget the log up to `index`, where the application's state is `data`.

        Returns the snapshot, to be stored before the next `take_ready` in one transaction with the
        removal of the stored entries up to `index`. Raises ValueError if that entry is not applied,
        or compacted already.
        """
        if index > self.applied_index:
            raise ValueError(f"entry {index} is not applied yet; {self.applied_index} is")
        return self._log.compact(index, data)

    def take_ready(self) -> Ready | None:
        """Return what is to be done now, or None when that is nothing.

        Make durable what is to be, then send, then apply, then call `advance`, and only then take
        the next. Raises RuntimeError when `advance` was not called.
        """
        if self._is_handling:
            raise RuntimeError("advance() was not called after the last take_ready()")
        log = self._log
        is_stored = self._term == self._stored.term and self._vote == self._stored.vote
        if (
            not self._outbox
            and is_stored
            and log.unstable_index > log.last_index
            and log.commit_index == self._handed_index
            and self.soft_state is self._handed_soft_state
            and self._installed is None
        ):
            return None
        if not is_stored:
            self._stored = HardState(term=self._term, vote=self._vote)
        ready = Ready(
            hard_state=None if is_stored else self._stored,
            snapshot=self._installed,
            entries=log.take_unstable(),
            messages=tuple(self._outbox),
            committed=log.take_committed(),
            soft_state=self.soft_state,
        )
        self._outbox.clear()
        self._installed = None
        self._handed_soft_state = self.soft_state
        self._handed_index = log.commit_index
        self._is_handling = True
        return ready

    def advance(self) -> None:
        """Say that the last Ready is stored, sent and applied."""
        self._is_handling = False
        self.applied_index = self._handed_index

    # What it tells

    @property
    def lease_is_valid(self) -> bool:
        """Whether this node is the leader and no other node can be one now.

        That holds within the bounds of `RaftSettings`. It doesn't say that the application is up to
        date: that it is once an entry of this term is applied.
        """
        return isinstance(self._state, Leadership) and self._state.lease_is_valid

    @property
    def configuration(self) -> Configuration:
        """The newest configuration in this node's log, committed or not."""
        return self._log.configuration

    @property
    def commit_index(self) -> int:
        """The last entry that this node knows to be committed."""
        return self._log.commit_index

    @property
    def last_entry(self) -> tuple[int, int]:
        """The term and the index of the last entry in this node's log."""
        return self._log.last_term, self._log.last_index

    @property
    def snapshot(self) -> Snapshot:
        """What the log begins after."""
        return self._log.snapshot

    @property
    def match_index(self) -> Mapping[NodeId, int]:
        """Up to where each follower has stored the log; empty unless this node is the leader.

        It is 0 until a follower answers in this term.
        """
        state = self._state
        if not isinstance(state, Leadership):
            return {}
        return {node: progress.match_index for node, progress in state.followers.items()}

    # Elections

    def _campaign(self, ballot: Ballot) -> None:
        """Ask for votes; of the pre-vote nobody remembers anything (dissertation §9.6)."""
        if ballot is not Ballot.PRE_VOTE:
            self._term += 1
            self._vote = self.node
        self._become(Polling(ballot=ballot, granted=set()))
        term = self._term + (ballot is Ballot.PRE_VOTE)
        for voter in sorted(self._log.configuration.voters - {self.node}):
            self._outbox.append(
                RequestVote(
                    sender=self.node,
                    receiver=voter,
                    term=term,
                    ballot=ballot,
                    last_index=self._log.last_index,
                    last_term=self._log.last_term,
                )
            )
        self._count_vote(self.node)

    def _count_vote(self, voter: NodeId) -> None:
        poll = self._state
        if not isinstance(poll, Polling):
            return
        poll.granted.add(voter)
        if not poll.is_won(self._log.configuration):
            return
        if poll.ballot is Ballot.PRE_VOTE:
            self._campaign(Ballot.ELECTION)
        else:
            self._lead()

    def _on_vote(self, message: Vote) -> None:
        poll = self._state
        if not message.granted:
            self._see_term(message.term)
        elif (
            isinstance(poll, Polling)
            and message.ballot is poll.ballot
            and message.term == self._term + (poll.ballot is Ballot.PRE_VOTE)
        ):
            self._count_vote(message.sender)

    def _on_request_vote(self, message: RequestVote) -> None:
        if message.ballot is not Ballot.HANDOVER and self._is_loyal():
            # Not even its term counts (dissertation §4.2.3).
            if message.ballot is Ballot.PRE_VOTE:
                self._loyalty.ignore(message)
            return
        if message.ballot is Ballot.PRE_VOTE:
            granted = message.term > self._term and self._log_allows(message)
        else:
            self._see_term(message.term)
            granted = (
                message.term == self._term
                and self._vote_is_free_for(message.sender)
                and self._log_allows(message)
            )
            if granted:
                self._vote = message.sender
                self._restart_timer()
        self._outbox.append(
            Vote(
                sender=self.node,
                receiver=message.sender,
                term=message.term if granted else self._term,
                ballot=message.ballot,
                granted=granted,
            )
        )

    def _is_loyal(self) -> bool:
        """Whether a leader may count on this node to ignore candidates (dissertation §4.2.3)."""
        return isinstance(self._state, Leadership) or self._loyalty.is_owed

    def _vote_is_free_for(self, candidate: NodeId) -> bool:
        """Whether this node's one vote in its term may go to `candidate` (paper §5.2)."""
        return self._vote is None or self._vote == candidate

    def _log_allows(self, message: RequestVote) -> bool:
        """Whether the candidate has everything that may be committed (paper §5.4.1)."""
        return self._log.is_up_to_date(message.last_index, message.last_term)

    # Following

    def _hears(self, message: AppendEntries | InstallSnapshot) -> bool:
        """Follow the sender if it is the leader of this term or of a later one (paper §5.1)."""
        if message.term != self._term:
            if message.term < self._term:
                self._outbox.append(
                    StaleTerm(sender=self.node, receiver=message.sender, term=self._term)
                )
                return False
            self._see_term(message.term)
        if not isinstance(self._state, Following) or self._state.leader != message.sender:
            self._become(Following(leader=message.sender))
        self._loyalty.renew()
        self._ticks_waited = 0
        return True

    def _on_append_entries(self, message: AppendEntries) -> None:
        log = self._log
        if not log.matches(message.previous_index, message.previous_term):
            conflict_term, conflict_index = log.conflict_at(message.previous_index)
            self._outbox.append(
                Conflict(
                    sender=self.node,
                    receiver=message.sender,
                    term=self._term,
                    round=message.round,
                    previous_index=message.previous_index,
                    conflict_term=conflict_term,
                    conflict_index=conflict_index,
                )
            )
            return
        log.accept(message.entries)
        # What follows in this log may not be the leader's, so nothing of it counts.
        match_index = message.previous_index + len(message.entries)
        log.commit(min(message.commit_index, match_index))
        self._acknowledge(message, match_index)

    def _on_install_snapshot(self, message: InstallSnapshot) -> None:
        snapshot = message.snapshot
        # If the log matches there, everything in the snapshot is in it already.
        if not self._log.matches(snapshot.index, snapshot.term):
            self._log = Log(snapshot, ())
            self._installed = snapshot
        self._acknowledge(message, snapshot.index)

    def _acknowledge(self, message: AppendEntries | InstallSnapshot, match_index: int) -> None:
        self._outbox.append(
            Appended(
                sender=self.node,
                receiver=message.sender,
                term=self._term,
                round=message.round,
                match_index=match_index,
            )
        )

    def _on_timeout_now(self, message: TimeoutNow) -> None:
        is_follower = not isinstance(self._state, Leadership)
        if (
            message.term == self._term
            and is_follower
            and self.node in self._log.configuration.voters
        ):
            self._restart_timer()
            self._campaign(Ballot.HANDOVER)

    # Leading

    def _lead(self) -> None:
        self._become(
            Leadership(
                node=self.node,
                term=self._term,
                log=self._log,
                settings=self._settings,
                outbox=self._outbox,
            )
        )

    def _leadership(self) -> Leadership:
        if not isinstance(self._state, Leadership):
            raise RefusedError(Refusal.NOT_LEADER, leader=self.soft_state.leader)
        return self._state

    def _tick_leader(self, leadership: Leadership) -> None:
        leadership.tick()
        if leadership.has_lost_quorum:
            self._restart_timer()
            self._become(Following(leader=None))
        elif leadership.transfer_has_expired:
            self._end_transfer(leadership)

    def _end_transfer(self, leadership: Leadership) -> None:
        """Lead again after a transfer that did not happen (dissertation §3.10).

        Who was asked to take over may be elected for the next term however late it tries, so this
        term can have no lease any more: the leader stands for that next term itself.
        """
        transfer, leadership.transfer = leadership.transfer, None
        if transfer is not None and transfer.asked:
            self._restart_timer()
            self._campaign(Ballot.HANDOVER)

    # The rest

    def _see_term(self, term: int) -> None:
        """Leave everything for a later term (paper §5.1)."""
        if term > self._term:
            self._term = term
            self._vote = None
            self._restart_timer()
            self._become(Following(leader=None))

    def _become(self, state: State) -> None:
        self._state = state
        described = describe(state, node=self.node, term=self._term)
        if described != self.soft_state:
            self.soft_state = described

    def _restart_timer(self) -> None:
        self._ticks_waited = 0
        self._timeout_ticks = ticks = self._draw_timeout()
        if ticks < self._settings.min_election_ticks:
            raise ValueError(
                f"an election time-out of {ticks} ticks was drawn; leases need "
                f"min_election_ticks ({self._settings.min_election_ticks}) at least"
            )
