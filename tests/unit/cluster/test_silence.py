"""Silence is counted while one leads, and over all leaderships for who is given up."""

from __future__ import annotations

from mnc.cluster.silence import Silence
from mnc.raft import NodeId

_A, _B = NodeId("a"), NodeId("b")
_MISSED = 10


def test_who_was_heard_has_not_been_silent() -> None:
    """Silence begins when a member was heard last, and ends when it is heard again."""
    silence = Silence(missed_after=_MISSED)
    silence.hear(_A, 5)
    assert silence.turns(_A, 9) == 4
    silence.hear(_A, 9)
    assert silence.turns(_A, 9) == silence.turns_in_all(_A, 9) == 0


def test_who_is_gone_is_missed_at_once() -> None:
    """Of a process that is gone no silence is waited for, until it is heard again."""
    silence = Silence(missed_after=_MISSED)
    silence.hear(_A, 5)
    silence.miss(_A)
    assert silence.gone == {_A}
    assert silence.turns(_A, 5) == _MISSED
    silence.hear(_A, 6)
    assert silence.gone == set()
    assert silence.turns(_A, 6) == 0


def test_a_leader_gives_everybody_time_to_answer() -> None:
    """What was not heard while another member led is no silence."""
    silence = Silence(missed_after=_MISSED)
    silence.hear(_A, 0)
    silence.miss(_A)
    silence.begin_to_lead([_A], 100)
    assert silence.gone == set()
    assert silence.turns(_A, 101) == silence.turns_in_all(_A, 101) == 1


def test_silence_adds_up_over_leaderships() -> None:
    """Who never answers is silent for longer with each leadership, without the time between."""
    silence = Silence(missed_after=_MISSED)
    for began in (100, 200, 300):
        silence.begin_to_lead([_A, _B], began)
        silence.hear(_B, began + 1)
        silence.cease_to_lead([_A, _B], began + 50)
    silence.begin_to_lead([_A, _B], 400)
    assert silence.turns_in_all(_A, 400 + _MISSED - 1) == _MISSED - 1  # it may answer yet
    assert silence.turns_in_all(_A, 400 + _MISSED) == 150 + _MISSED
    silence.hear(_B, 402)
    assert silence.turns_in_all(_B, 450) == 48
    silence.hear(_A, 450)
    assert silence.turns_in_all(_A, 450 + _MISSED) == _MISSED
