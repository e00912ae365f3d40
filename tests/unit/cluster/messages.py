"""Hypothesis strategies for everything that instances send to one another."""

from __future__ import annotations

from typing import TypeVar

from hypothesis import strategies as st

from mnc.cluster.messages import ClusterMessage, GroupId, Hello, Probe, Propose
from mnc.raft import (
    Appended,
    AppendEntries,
    Ballot,
    Configuration,
    Conflict,
    Entry,
    InstallSnapshot,
    Message,
    NodeId,
    NoOp,
    Payload,
    RequestVote,
    Snapshot,
    StaleTerm,
    TimeoutNow,
    Vote,
)

__all__ = ["groups", "messages", "payloads"]

_M = TypeVar("_M", bound=Message)

_numbers = st.integers(0, 2**63 - 1)
_nodes = st.from_regex(r"[A-Za-z0-9_-]{1,64}", fullmatch=True).map(NodeId)
groups: st.SearchStrategy[GroupId | None] = st.none() | st.text().map(GroupId)


@st.composite
def _configurations(draw: st.DrawFn) -> Configuration:
    voters = draw(st.frozensets(_nodes, max_size=5))
    learners = draw(st.frozensets(_nodes, max_size=3))
    return Configuration(voters=voters, learners=learners - voters)


payloads: st.SearchStrategy[Payload] = st.one_of(st.binary(), st.builds(NoOp), _configurations())
_entries = st.builds(Entry, index=_numbers, term=_numbers, payload=payloads)
_snapshots = st.builds(
    Snapshot, index=_numbers, term=_numbers, configuration=_configurations(), data=st.binary()
)


def _raft(kind: type[_M], **fields: st.SearchStrategy[object]) -> st.SearchStrategy[_M]:
    return st.builds(kind, sender=_nodes, receiver=_nodes, term=_numbers, **fields)


messages: st.SearchStrategy[ClusterMessage] = st.one_of(
    st.builds(
        Hello,
        sender=_nodes,
        name=st.text(),
        group=groups,
        last_term=_numbers,
        last_index=_numbers,
        leaderless_s=st.floats(0, 1e9),
    ),
    st.builds(Probe, sender=_nodes, receiver=_nodes),
    st.builds(Propose, sender=_nodes, receiver=_nodes, command=st.binary()),
    _raft(
        RequestVote,
        ballot=st.sampled_from(Ballot),
        last_index=_numbers,
        last_term=_numbers,
    ),
    _raft(Vote, ballot=st.sampled_from(Ballot), granted=st.booleans()),
    _raft(
        AppendEntries,
        round=_numbers,
        previous_index=_numbers,
        previous_term=_numbers,
        entries=st.lists(_entries, max_size=4).map(tuple),
        commit_index=_numbers,
    ),
    _raft(InstallSnapshot, round=_numbers, snapshot=_snapshots),
    _raft(Appended, round=_numbers, match_index=_numbers),
    _raft(
        Conflict,
        round=_numbers,
        previous_index=_numbers,
        conflict_term=st.none() | _numbers,
        conflict_index=_numbers,
    ),
    _raft(StaleTerm),
    _raft(TimeoutNow),
)
