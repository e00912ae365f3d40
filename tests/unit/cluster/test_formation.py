"""How a group begins, and when another takes its place."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.cluster.gathering import STEP_S, Gathering

from mnc.cluster.formation import (
    LOST_AFTER_S,
    MEETING_S,
    Decision,
    Enter,
    Found,
    Founding,
    Sighting,
    Wait,
    decide,
)
from mnc.cluster.messages import GroupId, Hello
from mnc.cluster.state import (
    Assign,
    ClusterState,
    Join,
    apply,
    carried_over,
    encode_state,
    initial_state,
)
from mnc.raft import NodeId

_A, _B, _C, _D = (NodeId(name) for name in "abcd")
_OLD, _NEW = GroupId("old"), GroupId("new")

_FOUNDING = Founding(
    group=_OLD,
    generation=1,
    voters=frozenset({_A, _B, _C}),
    state=encode_state(initial_state(1, first_epoch=1)),
)

_seeds = st.integers(0, 2**32)


def _hello(
    sender: NodeId,
    *,
    group: GroupId | None = None,
    last: tuple[int, int] = (0, 0),
    leaderless_s: float = 0.0,
) -> Hello:
    return Hello(
        sender=sender,
        name=f"pod-{sender}",
        group=group,
        last_term=last[0],
        last_index=last[1],
        leaderless_s=leaderless_s,
    )


def _decide(
    own: Hello,
    *others: Hello,
    age_s: float = 0.1,
    founding: Founding | None = None,
    state: ClusterState | None = None,
) -> Decision:
    return decide(
        own,
        sightings=[Sighting(hello=other, age_s=age_s) for other in others],
        founding=founding,
        state=state,
        size=3,
        new_group=_NEW,
        now_ms=1,
    )


def test_smallest_of_those_who_met_founds_the_first_group() -> None:
    """When enough instances have met, one of them founds a group of the smallest identities."""
    everybody = [_hello(node) for node in (_A, _B, _C, _D)]
    first = Founding(
        group=_NEW,
        generation=1,
        voters=frozenset({_A, _B, _C}),
        state=encode_state(initial_state(1, first_epoch=1)),
    )
    assert _decide(*everybody) == Found(first)
    for number in (1, 2, 3):
        own = everybody[number]
        others = everybody[:number] + everybody[number + 1 :]
        assert _decide(own, *others) == Wait()


def test_too_few_found_nothing() -> None:
    """Fewer than the cluster's size don't found a group, nor who heard the others long ago."""
    own, second, third = (_hello(node) for node in (_A, _B, _C))
    assert _decide(own, second) == Wait()
    assert _decide(own, second, third, age_s=MEETING_S + 0.1) == Wait()
    assert isinstance(_decide(own, second, third, age_s=MEETING_S), Found)


def test_nobody_founds_beside_a_group_that_is_heard_of() -> None:
    """One member of a group is enough to wait for it."""
    own, second, third = _hello(_A), _hello(_B), _hello(_C, group=_OLD)
    assert _decide(own, second, third) == Wait()
    assert _decide(own, second, _hello(_C), third) == Wait()


@pytest.mark.parametrize("node", [_A, _D], ids=["voter", "spare"])
@pytest.mark.parametrize("group", [None, GroupId("before")])
def test_newest_group_is_entered(node: NodeId, group: GroupId | None) -> None:
    """Whoever reads of a group that it isn't in enters it, from an older one as from none."""
    state = None if group is None else initial_state(0, first_epoch=1)
    assert _decide(_hello(node, group=group), founding=_FOUNDING, state=state) == Enter(_FOUNDING)


def test_member_waits_for_its_leader() -> None:
    """A group that has no leader for a moment isn't replaced, whoever has met."""
    own, *others = (_hello(node, group=_OLD, leaderless_s=10) for node in (_A, _B, _C))
    assert (
        _decide(own, *others, founding=_FOUNDING, state=initial_state(1, first_epoch=1)) == Wait()
    )


def _lost(node: NodeId, last: tuple[int, int] = (0, 0)) -> Hello:
    return _hello(node, group=_OLD, last=last, leaderless_s=LOST_AFTER_S)


def _with_work() -> ClusterState:
    joined = apply(initial_state(1, first_epoch=1), Join(node=_B, name="pod-b", incarnation="1"))
    return apply(joined, Assign(revision=1, grants={"users": _B}))


def test_group_that_lost_its_majority_is_replaced() -> None:
    """After a while the member with the most complete log founds the next generation with it."""
    longest, shorter, empty = _lost(_B, (2, 7)), _lost(_A, (2, 6)), _lost(_D)
    assert _decide(longest, shorter, empty, founding=_FOUNDING, state=_with_work()) == Found(
        Founding(
            group=_NEW,
            generation=2,
            voters=frozenset({_A, _B, _D}),
            state=encode_state(carried_over(_with_work(), 2, first_epoch=1)),
        )
    )
    assert _decide(shorter, longest, empty, founding=_FOUNDING, state=_with_work()) == Wait()
    assert _decide(empty, longest, shorter, founding=_FOUNDING) == Wait()


def test_later_term_has_more_of_the_log() -> None:
    """The most complete log is that of the latest term, then the longest, as in an election."""
    later, longer = _lost(_B, (3, 1)), _lost(_A, (2, 9))
    state = _with_work()
    assert isinstance(_decide(later, longer, _lost(_D), founding=_FOUNDING, state=state), Found)
    assert _decide(longer, later, _lost(_D), founding=_FOUNDING, state=state) == Wait()


def test_log_of_another_group_counts_for_nothing() -> None:
    """Only the newest group's state is carried over, however much others have."""
    stranger = replace(_lost(_A, (9, 9)), group=GroupId("before"))
    decision = _decide(_lost(_B, (1, 1)), stranger, _lost(_C), founding=_FOUNDING)
    assert isinstance(decision, Found)


def test_group_of_which_nothing_is_left_is_replaced() -> None:
    """When all disks are lost, the smallest founds the next generation from the beginning."""
    decision = _decide(_lost(_B), _lost(_C), _lost(_D), founding=_FOUNDING)
    assert isinstance(decision, Found)
    assert decision.founding.generation == 2
    assert decision.founding.state == encode_state(initial_state(2, first_epoch=1))


def test_group_is_not_replaced_while_somebody_has_known_a_leader() -> None:
    """One instance that had a leader lately is a sign that the group may work."""
    lately = _hello(_C, group=_OLD, leaderless_s=LOST_AFTER_S - 0.1)
    state = initial_state(1, first_epoch=1)
    assert _decide(_lost(_A), _lost(_B), lately, founding=_FOUNDING, state=state) == Wait()
    own = replace(lately, sender=_A)
    assert _decide(own, _lost(_B), _lost(_C), founding=_FOUNDING, state=state) == Wait()
    assert _decide(_lost(_A), _lost(_B), founding=_FOUNDING, state=state) == Wait()


@pytest.mark.parametrize("founding", [None, _FOUNDING], ids=["removed", "older"])
def test_member_puts_a_lost_founding_back(founding: Founding | None) -> None:
    """When the document was removed, a member restores it, and nobody begins as a voter by it."""
    decision = _decide(
        _hello(_A, group=_NEW), founding=founding, state=initial_state(2, first_epoch=1)
    )
    assert decision == Found(Founding(group=_NEW, generation=2, voters=frozenset(), state=b""))


def _check_groups(gathering: Gathering) -> None:
    """Assert that there was one group of each generation, and that nobody entered one twice."""
    generations = [founding.generation for founding in gathering.stored]
    assert generations == sorted(set(generations))
    groups = {founding.group for founding in gathering.stored}
    for instance in gathering.instances:
        assert len(instance.entered) == len(set(instance.entered))
        assert set(instance.entered) <= groups


@given(st.sampled_from([3, 5]), st.integers(0, 4), st.floats(0, 0.6), _seeds)
def test_one_group_forms_however_many_start(size: int, spares: int, loss: float, seed: int) -> None:
    """Instances that start within seconds form exactly one group, whatever is lost meanwhile."""
    gathering = Gathering(size=size, seed=seed)
    rng = random.Random(seed)
    gathering.loss = loss
    for _ in range(size + spares):
        gathering.start()
        gathering.run(rng.choice([0, 0.5, 3]))
    gathering.run(5)
    gathering.loss = 0.0
    gathering.run(5)
    assert gathering.is_settled()
    assert len(gathering.stored) == 1
    _check_groups(gathering)


@given(_seeds)
def test_fewer_than_the_size_form_none(seed: int) -> None:
    """Two of three instances wait for the third, for however long."""
    gathering = Gathering(size=3, seed=seed)
    gathering.start()
    gathering.start()
    gathering.run(60)
    assert gathering.stored == []


@given(_seeds)
def test_newcomers_found_none_where_the_founding_was_removed(seed: int) -> None:
    """Members put a removed founding back, before as many come as could found another group."""
    gathering = Gathering(size=3, seed=seed)
    for _ in range(3):
        gathering.start()
    gathering.run(10)
    gathering.register = None
    gathering.run(STEP_S)
    for _ in range(3):
        gathering.start()
    gathering.run(10)
    assert gathering.is_settled()
    assert len({founding.group for founding in gathering.stored}) == 1


@given(st.sampled_from([3, 5]), _seeds)
def test_groups_never_stand_side_by_side(size: int, seed: int) -> None:
    """Through crashes, lost disks and lost messages, there is one group of each generation.

    Once that ends and enough instances run, all of them are in the newest group.
    """
    gathering = Gathering(size=size, seed=seed)
    rng = random.Random(seed)
    for _ in range(size + 1):
        gathering.start()
    for _ in range(30):
        gathering.loss = rng.choice([0, 0.2, 0.5, 0.95])
        victim = rng.choice(gathering.instances)
        match rng.randrange(4):
            case 0:
                victim.is_up = False
            case 1:
                gathering.restart(victim)
            case 2:
                victim.is_up = False
                gathering.instances.remove(victim)
                gathering.start()
            case _:
                pass
        gathering.run(rng.choice([1, 3, 10, 20]))
        _check_groups(gathering)
    gathering.loss = 0.0
    for instance in gathering.instances:
        if not instance.is_up:
            gathering.restart(instance)
    gathering.run(40)
    assert gathering.is_settled()
    _check_groups(gathering)
