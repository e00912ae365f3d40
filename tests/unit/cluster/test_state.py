"""What the replicated commands add up to."""

from __future__ import annotations

from functools import reduce
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mnc.cluster.state import (
    Assign,
    ClusterState,
    Command,
    Join,
    Leave,
    Member,
    Release,
    Share,
    apply,
    carried_over,
    decode_command,
    decode_state,
    encode_command,
    encode_state,
    initial_state,
)
from mnc.errors import ClusterError
from mnc.model import Epoch
from mnc.raft import NodeId

_A, _B, _C = (NodeId(name) for name in "abc")

_FIRST = 1_700_000_000_000
"""The first epoch of the first generation."""

_nodes = st.sampled_from([_A, _B, _C])
_collections = st.sampled_from(["users", "movies", "users.archive", "größe"])
_incarnations = st.sampled_from(["1", "2"])
_owners = st.dictionaries(_collections, _nodes)
_commands: st.SearchStrategy[Command] = st.one_of(
    st.builds(Join, node=_nodes, name=st.just("pod"), incarnation=_incarnations),
    st.builds(Leave, node=_nodes, incarnation=_incarnations),
    st.builds(
        Assign,
        revision=st.integers(0, 12),
        grants=_owners,
        handovers=_owners,
        withdrawn=st.frozensets(_collections),
    ),
    st.builds(
        Release,
        collection=_collections,
        node=_nodes,
        epoch=st.integers(_FIRST, _FIRST + 8).map(Epoch),
    ),
)


@st.composite
def _histories(draw: st.DrawFn) -> list[ClusterState]:
    """Draw the states that a group goes through; most of the commands have an effect."""
    states = [initial_state(1, first_epoch=_FIRST)]
    for _ in range(draw(st.integers(0, 25))):
        state = states[-1]
        command = draw(_commands)
        match command:
            case Assign() if draw(st.booleans()):
                command = Assign(
                    revision=state.revision,
                    grants=command.grants,
                    handovers=command.handovers,
                    withdrawn=command.withdrawn,
                )
            case Release(collection=name) if name in state.shares and draw(st.booleans()):
                share = state.shares[name]
                command = Release(collection=name, node=share.owner, epoch=share.epoch)
            case _:
                pass
        states.append(apply(state, command))
    return states


def _state(*commands: Command) -> ClusterState:
    return reduce(apply, commands, initial_state(1, first_epoch=_FIRST))


_JOINED = tuple(Join(node=node, name=f"pod-{node}", incarnation="1") for node in (_A, _B, _C))


@given(_histories())
def test_owner_changes_only_with_a_newer_epoch(history: list[ClusterState]) -> None:
    """Epochs of a collection strictly increase from owner to owner, also past nobody."""
    newest: dict[str, tuple[Epoch, NodeId]] = {}
    for state in history:
        for name, share in state.shares.items():
            epoch, owner = newest.get(name, (Epoch(0), share.owner))
            assert share.epoch > epoch or (share.epoch, share.owner) == (epoch, owner)
            newest[name] = (share.epoch, share.owner)


@given(_histories())
def test_no_epoch_is_given_twice(history: list[ClusterState]) -> None:
    """Each epoch belongs to one collection and one owner, so that a stale writer is known by it."""
    granted: dict[Epoch, tuple[str, NodeId]] = {}
    for state in history:
        for name, share in state.shares.items():
            assert granted.setdefault(share.epoch, (name, share.owner)) == (name, share.owner)
            assert share.epoch < state.next_epoch


@given(_histories())
def test_nothing_is_assigned_to_nobody(history: list[ClusterState]) -> None:
    """Who becomes an owner or an heir is a member then, and nobody is the heir of itself."""
    for before, after in pairwise(history):
        for name, share in after.shares.items():
            old = before.shares.get(name)
            assert share.heir != share.owner
            if old is None or old.epoch != share.epoch:
                assert share.owner in after.members
            if share.heir is not None and (old is None or old.heir != share.heir):
                assert share.heir in after.members


@given(_histories())
def test_revision_counts_the_changes(history: list[ClusterState]) -> None:
    """The revision rises by one when something changed, and only then."""
    for before, after in pairwise(history):
        assert after.revision == before.revision + (after != before)


@given(st.lists(_commands), st.lists(_commands))
def test_state_goes_on_from_its_snapshot(before: list[Command], after: list[Command]) -> None:
    """A member that starts from a snapshot and the encoded commands has the state of the rest."""
    state = reduce(apply, before, initial_state(1, first_epoch=_FIRST))
    restored = decode_state(encode_state(state))
    assert restored == state
    replayed = reduce(apply, [decode_command(encode_command(each)) for each in after], restored)
    assert replayed == reduce(apply, after, state)


@given(_histories(), _commands)
def test_repeat_changes_nothing(history: list[ClusterState], command: Command) -> None:
    """A command that is delivered twice in a row counts once."""
    state = apply(history[-1], command)
    assert apply(state, command) == state


@given(_owners)
def test_members_agree_whatever_the_order_of_an_assignment(grants: dict[str, NodeId]) -> None:
    """The order in which a command names collections doesn't matter."""
    state = _state(*_JOINED)
    backwards = dict(reversed(grants.items()))
    assert apply(state, Assign(revision=3, grants=grants)) == apply(
        state, Assign(revision=3, grants=backwards)
    )


def test_grant_counts_only_at_its_revision() -> None:
    """An assignment that rests on an older state is dropped as a whole."""
    state = _state(*_JOINED, Assign(revision=3, grants={"users": _A}))
    assert state.shares == {"users": Share(owner=_A, epoch=Epoch(_FIRST))}
    for revision in (2, 3, 5):
        assert apply(state, Assign(revision=revision, grants={"movies": _B})) == state


def test_heir_becomes_the_owner_when_the_collection_is_released() -> None:
    """A handover changes the owner at the release, and its epoch ends with it."""
    state = _state(
        *_JOINED,
        Assign(revision=3, grants={"users": _A}),
        Assign(revision=4, handovers={"users": _B}),
    )
    assert state.shares == {"users": Share(owner=_A, epoch=Epoch(_FIRST), heir=_B)}
    release = Release(collection="users", node=_A, epoch=Epoch(_FIRST))
    after = apply(state, release)
    assert after.shares == {"users": Share(owner=_B, epoch=Epoch(_FIRST + 1))}
    assert apply(after, release) == after


@pytest.mark.parametrize("heir", [None, _B], ids=["no heir", "an heir that has left"])
def test_release_to_nobody_leaves_the_collection_without_owner(heir: NodeId | None) -> None:
    """Without an heir that is a member, a released collection waits for a grant."""
    handovers = {} if heir is None else {"users": heir}
    state = _state(
        *_JOINED,
        Assign(revision=3, grants={"users": _A}),
        Assign(revision=4, handovers=handovers),
        Leave(node=_B, incarnation="1"),
        Release(collection="users", node=_A, epoch=Epoch(_FIRST)),
    )
    assert state.shares == {}


@pytest.mark.parametrize(("node", "epoch"), [(_B, _FIRST + 1), (_A, _FIRST)])
def test_stale_release_changes_nothing(node: NodeId, epoch: int) -> None:
    """Only the owner releases, and only in its present epoch, also if it owned it before."""
    state = _state(
        *_JOINED,
        Assign(revision=3, grants={"users": _A}),
        Assign(revision=4, handovers={"users": _B}),
        Assign(revision=5, grants={"users": _A}),  # taken back, because the heir is gone
    )
    assert state.shares == {"users": Share(owner=_A, epoch=Epoch(_FIRST + 1))}
    assert apply(state, Release(collection="users", node=node, epoch=Epoch(epoch))) == state


def test_leave_of_an_earlier_process_changes_nothing() -> None:
    """A Leave that arrives after its node has started anew doesn't concern the new process."""
    state = _state(*_JOINED, Join(node=_A, name="pod-a", incarnation="2"))
    assert apply(state, Leave(node=_A, incarnation="1")) == state
    assert _A not in apply(state, Leave(node=_A, incarnation="2")).members


def test_who_leaves_keeps_its_collections_until_they_are_released() -> None:
    """Leaving asks for no more work; what was begun is handed over in order."""
    state = _state(
        *_JOINED, Assign(revision=3, grants={"users": _A}), Leave(node=_A, incarnation="1")
    )
    assert state.shares["users"].owner == _A


def test_withdrawn_collection_has_no_owner() -> None:
    """A collection that isn't watched any more is nobody's."""
    state = _state(
        *_JOINED,
        Assign(revision=3, grants={"users": _A, "movies": _A}),
        Assign(revision=4, withdrawn=frozenset({"users"})),
    )
    assert state.shares.keys() == {"movies"}


@given(_histories(), st.integers(2, 5), st.integers(0, 2 * _FIRST))
def test_new_generation_has_newer_epochs(
    history: list[ClusterState], generation: int, now_ms: int
) -> None:
    """Owners are carried over, in epochs above all that the old group gave, whatever the clock."""
    state = history[-1]
    after = carried_over(state, generation, first_epoch=now_ms)
    assert (state.generation, after.generation) == (1, generation)
    assert after.members == state.members
    assert {name: share.owner for name, share in after.shares.items()} == {
        name: share.owner for name, share in state.shares.items()
    }
    for share in after.shares.values():
        assert share.heir is None
        assert max(state.next_epoch, now_ms) <= share.epoch < after.next_epoch


@pytest.mark.parametrize(
    ("command", "encoded"),
    [
        (
            Join(node=_A, name="pod", incarnation="1"),
            (b'{"version":1,"Join":{"node":"a","name":"pod","incarnation":"1"}}'),
        ),
        (
            Leave(node=_A, incarnation="1"),
            b'{"version":1,"Leave":{"node":"a","incarnation":"1"}}',
        ),
        (
            Assign(revision=7, grants={"users": _A}, withdrawn=frozenset({"y", "x"})),
            (
                b'{"version":1,"Assign":'
                b'{"revision":7,"grants":{"users":"a"},"handovers":{},"withdrawn":["x","y"]}}'
            ),
        ),
        (
            Release(collection="users", node=_A, epoch=Epoch(_FIRST)),
            b'{"version":1,"Release":{"collection":"users","node":"a","epoch":1700000000000}}',
        ),
    ],
    ids=lambda value: type(value).__name__,
)
def test_commands_are_written_as_ever(command: Command, encoded: bytes) -> None:
    """What stands in the logs on disks can be read; another form needs another version."""
    assert encode_command(command) == encoded
    assert decode_command(encoded) == command


def test_states_are_written_as_ever() -> None:
    """What stands in the snapshots on disks can be read; another form needs another version."""
    state = ClusterState(
        generation=1,
        next_epoch=9,
        revision=4,
        members={_A: Member(name="pod", incarnation="1")},
        shares={"users": Share(owner=_A, epoch=Epoch(8), heir=_B)},
    )
    encoded = (
        b'{"version":1,"state":{"generation":1,"next_epoch":9,"revision":4,'
        b'"members":{"a":{"name":"pod","incarnation":"1"}},'
        b'"shares":{"users":{"owner":"a","epoch":8,"heir":"b"}}}}'
    )
    assert encode_state(state) == encoded
    assert decode_state(encoded) == state


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"[]",
        b'{"Leave":{"node":"a","incarnation":"1"}}',
        b'{"version":2,"Leave":{"node":"a","incarnation":"1"}}',
        b'{"version":1,"Pause":{"collection":"users"}}',
        b'{"version":1,"Leave":{"node":"a"}}',
        b'{"version":1,"state":{"generation":1,"next_epoch":1,"revision":0,"members":{"a":{}},"shares":{}}}',
        b'{"version":1,"state":{"generation":1,"next_epoch":1,"revision":0,"members":{},"shares":{"x":{}}}}',
        b'{"version":2,"state":{"generation":1,"next_epoch":1,"revision":0,"members":{},"shares":{}}}',
    ],
    ids=bytes.decode,
)
def test_what_a_later_version_wrote_is_not_guessed_at(data: bytes) -> None:
    """A command or a state that this version doesn't know is an error that stops the member."""
    with pytest.raises(ClusterError):
        decode_command(data)
    with pytest.raises(ClusterError):
        decode_state(data)
