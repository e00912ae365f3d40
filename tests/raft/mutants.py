"""Ways to get Raft wrong, one rule left out in each. What checks the core has to find them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tests.raft.simulator import STEADY, TOLD, Profile

from mnc.raft import (
    AppendEntries,
    Ballot,
    Entry,
    InstallSnapshot,
    NodeId,
    Raft,
    RaftSettings,
    Ready,
)
from mnc.raft.leader import Leadership
from mnc.raft.log import Log
from mnc.raft.loyalty import Loyalty
from mnc.raft.progress import NO_ROUND

__all__ = ["MUTANTS", "Mutant"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Mutant:
    """A part of the core and what replaces it."""

    owner: type
    attribute: str
    replacement: object
    profile: Profile = STEADY
    """Whose schedules find it, unless a script does."""


def _yes(*_: object) -> bool:
    return True


def _no(*_: object) -> bool:
    return False


_take_ready = Raft.take_ready
_init = Raft.__init__


def _send_first(raft: Raft) -> Ready | None:
    """Return the messages first, and what they rest on in the next Ready."""
    held = vars(raft).pop("held", None)
    if isinstance(held, Ready):
        raft._is_handling = True
        return held
    ready = _take_ready(raft)
    if ready is None or not ready.messages:
        return ready
    vars(raft)["held"] = ready._replace(messages=())
    return ready._replace(hard_state=None, snapshot=None, entries=(), committed=())


def _forget_the_leader(raft: Raft, *arguments: Any, **named: Any) -> None:
    _init(raft, *arguments, **named)
    raft._loyalty.end()


def _lease_from_election(leadership: Leadership) -> bool:
    since = max(0, leadership._quorum_round())
    return leadership._now - since < leadership._settings.lease_ticks and not (
        leadership.transfer is not None and leadership.transfer.asked
    )


def _lease_while_handing_over(leadership: Leadership) -> bool:
    round_ = leadership._quorum_round()
    return round_ != NO_ROUND and leadership._now - round_ < leadership._settings.lease_ticks


def _truncate_always(log: Log, entries: tuple[Entry, ...]) -> None:
    entries = tuple(entry for entry in entries if entry.index > log.snapshot.index)
    if entries:
        if entries[0].index <= log.last_index:
            log._truncate(entries[0].index)
        log._extend(entries)


_leader_is_gone = Raft.leader_is_gone


def _believe_any_report(raft: Raft, node: NodeId) -> None:
    _leader_is_gone(raft, raft.soft_state.leader or node)


def _campaign_out_of_turn(raft: Raft, node: NodeId) -> None:
    follows = raft.soft_state.leader == node
    _leader_is_gone(raft, node)
    if follows:
        raft._campaign(Ballot.PRE_VOTE)


def _campaign_as_a_learner(raft: Raft, node: NodeId) -> None:
    if raft.node in raft.configuration.voters:
        _leader_is_gone(raft, node)
    else:
        _campaign_out_of_turn(raft, node)


_acknowledge = Raft._acknowledge


def _acknowledge_all(
    raft: Raft, message: AppendEntries | InstallSnapshot, _match_index: int
) -> None:
    _acknowledge(raft, message, raft.last_entry[1])


def _end_transfer_in_the_same_term(_raft: Raft, leadership: Leadership) -> None:
    leadership.transfer = None


def _stay_loyal(_loyalty: Loyalty) -> None:
    pass


def _forget_the_unheeded(loyalty: Loyalty) -> None:
    loyalty._ticks = loyalty._shortest_ticks


MUTANTS: Mapping[str, Mutant] = {
    "votes twice": Mutant(owner=Raft, attribute="_vote_is_free_for", replacement=_yes),
    "votes for shorter logs": Mutant(owner=Raft, attribute="_log_allows", replacement=_yes),
    "sends before the sync": Mutant(owner=Raft, attribute="take_ready", replacement=_send_first),
    "commits old terms": Mutant(owner=Leadership, attribute="_may_commit", replacement=_yes),
    "ignores no candidate": Mutant(owner=Raft, attribute="_is_loyal", replacement=_no),
    "forgets the leader in a crash": Mutant(
        owner=Raft, attribute="__init__", replacement=_forget_the_leader
    ),
    "counts the lease from the election": Mutant(
        owner=Leadership, attribute="lease_is_valid", replacement=property(_lease_from_election)
    ),
    "keeps the lease while handing over": Mutant(
        owner=Leadership,
        attribute="lease_is_valid",
        replacement=property(_lease_while_handing_over),
    ),
    "keeps its term after a failed transfer": Mutant(
        owner=Raft, attribute="_end_transfer", replacement=_end_transfer_in_the_same_term
    ),
    "ignores the drift of clocks": Mutant(
        owner=RaftSettings,
        attribute="lease_ticks",
        replacement=property(lambda settings: settings.min_election_ticks),
    ),
    "replaces entries that match": Mutant(
        owner=Log, attribute="accept", replacement=_truncate_always
    ),
    "acknowledges what it was not sent": Mutant(
        owner=Raft, attribute="_acknowledge", replacement=_acknowledge_all
    ),
    "takes any report for one of its leader": Mutant(
        owner=Raft,
        attribute="leader_is_gone",
        replacement=_believe_any_report,
        profile=TOLD,
    ),
    "succeeds its leader as a learner": Mutant(
        owner=Raft,
        attribute="leader_is_gone",
        replacement=_campaign_as_a_learner,
        profile=TOLD,
    ),
    "campaigns out of turn": Mutant(
        owner=Raft, attribute="leader_is_gone", replacement=_campaign_out_of_turn
    ),
    "stays loyal to who is gone": Mutant(owner=Loyalty, attribute="end", replacement=_stay_loyal),
    "forgets whom it has ignored": Mutant(
        owner=Loyalty, attribute="end", replacement=_forget_the_unheeded
    ),
    "changes members before its term is committed": Mutant(
        owner=Leadership, attribute="_has_committed", replacement=_yes
    ),
}
