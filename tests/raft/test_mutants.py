"""The simulator and the scripts find what is wrong: each rule that is left out is noticed."""

from __future__ import annotations

import pytest
from tests.raft.mutants import MUTANTS
from tests.raft.scripts import SCRIPTS
from tests.raft.simulator import Profile, Simulation

_SEEDS = 400
"""Of those that test_schedules.py plays with the whole core; 80 are enough for the slowest."""

_FOUND_BY_SCRIPT = {
    "campaigns out of turn": "two_successors",
    "changes members before its term is committed": "two_changes_of_one_configuration",
    "commits old terms": "figure_8",
    "counts the lease from the election": "unheard_leader",
    "forgets whom it has ignored": "told_one_after_the_other",
    "forgets the leader in a crash": "restart_within_a_lease",
    "keeps its term after a failed transfer": "late_takeover",
    "stays loyal to who is gone": "two_successors",
}


def _install(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    mutant = MUTANTS[name]
    monkeypatch.setattr(mutant.owner, mutant.attribute, mutant.replacement)


def _fails(seed: int, profile: Profile) -> bool:
    try:
        Simulation(seed, profile).run()
    except (AssertionError, ValueError):
        return True
    return False


@pytest.mark.parametrize("name", sorted(MUTANTS.keys() - _FOUND_BY_SCRIPT.keys()))
def test_the_simulator_finds_the_mutant(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Among few hundred schedules is one that a core without this rule does not survive."""
    _install(name, monkeypatch)
    assert any(_fails(seed, MUTANTS[name].profile) for seed in range(_SEEDS))


@pytest.mark.parametrize("name", sorted(_FOUND_BY_SCRIPT))
def test_a_script_finds_the_mutant(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What random schedules hardly find is found by one that was written for it."""
    _install(name, monkeypatch)
    with pytest.raises(AssertionError):
        SCRIPTS[_FOUND_BY_SCRIPT[name]]()


@pytest.mark.parametrize("name", sorted(SCRIPTS))
def test_the_core_survives_the_script(name: str) -> None:
    """The core passes every schedule that was written by hand."""
    SCRIPTS[name]()
