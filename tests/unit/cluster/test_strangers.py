"""Who doesn't belong to the cluster, and who has been told of it."""

from __future__ import annotations

from mnc.cluster.strangers import Strangers


def test_stranger_is_news_once() -> None:
    """The same sender with the same reason is reported once; another reason is news again."""
    strangers = Strangers()
    noted = [
        strangers.note("b", reason, now_s=0.0)
        for reason in ("other size: 5", "other size: 5", "other version: 2")
    ]
    assert noted == [True, False, True]


def test_stranger_is_shown_while_it_is_heard() -> None:
    """Half a minute after its last message a stranger is shown no more."""
    strangers = Strangers()
    strangers.note("b", "other size: 5", now_s=0.0)
    strangers.note(None, "not understood", now_s=10.0)
    strangers.note("b", "other size: 5", now_s=20.0)
    assert strangers.heard_lately(35.0) == {"b": "other size: 5", "?": "not understood"}
    assert strangers.heard_lately(45.0) == {"b": "other size: 5"}
    assert strangers.heard_lately(55.0) == {}


def test_memory_of_strangers_is_bounded() -> None:
    """However many there are, those who were heard last are remembered."""
    strangers = Strangers()
    for number in range(1000):
        strangers.note(str(number), "other size: 5", now_s=0.0)
    assert list(strangers.heard_lately(0.0)) == [str(number) for number in range(936, 1000)]
