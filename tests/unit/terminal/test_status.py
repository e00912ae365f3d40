"""The answer of `/status` as tables and as lines."""

from __future__ import annotations

import json
from collections.abc import Sequence
from io import StringIO
from typing import Any

import pytest
from rich.console import Console

from mnc.errors import InstanceError
from mnc.terminal.status import (
    plain_status,
    read_reasons,
    read_status,
    sections,
    terminal_status,
)

_A, _B, _C = "a" * 32, "b" * 32, "c" * 32

_ALONE: dict[str, Any] = {
    "version": "0.1.0",
    "uptime_s": 3725.4,
    "stream": "cs",
    "publishing": {"mode": "atomic", "not_promised": []},
    "ready": True,
    "cluster": None,
    "nats_error": None,
    "loop": {"longest_s": 0.0714, "during": "some.task"},
    "collections": [
        {
            "collection": "shop.users",
            "state": "capturing",
            "reason": None,
            "events_captured": 1300,
            "events_published": 1200,
            "events_checkpointed": 1180,
            "events_dead_lettered": 2,
            "lag_s": 0.0041,
        }
    ],
}

_FORMED: dict[str, Any] = {
    "strangers": {"d": "another size"},
    "node": _A,
    "group": "g",
    "role": "leader",
    "term": 3,
    "leader": _A,
    "commit_index": 41,
    "members": [
        {"node": _A, "name": "mnc-0", "joined": True, "votes": True},
        {"node": _B, "name": "mnc-1", "joined": True, "votes": True},
        {"node": _C, "name": None, "joined": False, "votes": False},
    ],
    "assignment": [
        {"collection": "movies", "owner": _B, "epoch": 8, "heir": _A},
        {"collection": "users", "owner": _A, "epoch": 7, "heir": None},
    ],
}


def _lines(status: object, reasons: Sequence[str] = ()) -> list[str]:
    return list(plain_status(list(sections(read_status(json.dumps(status).encode()), reasons))))


def _shown(status: object, *, width: int = 100) -> str:
    out = StringIO()
    found = list(sections(read_status(json.dumps(status).encode()), ["it is [red]starting"]))
    Console(file=out, width=width).print(terminal_status(found))
    return out.getvalue()


def test_an_instance_alone_has_no_cluster() -> None:
    """Without a cluster there are the instance and its collections only."""
    assert _lines(_ALONE) == [
        "instance\tready\tready",
        "instance\tversion\t0.1.0",
        "instance\tuptime\t1:02:05",
        "instance\tstream\tcs, atomic",
        "instance\tlongest stall\t71 ms, in some.task",
        "collections of this instance\tshop.users\tcapturing\t1,300\t1,200\t1,180\t2\t4 ms",
    ]


def test_each_stream_has_a_line() -> None:
    """Those of sections come behind the main one, with how they are published to."""
    others = {"payments": {"mode": "chained"}, "clicks": {"mode": None}}
    shown = [it for it in _lines({**_ALONE, "other_streams": others}) if "\tstream\t" in it]
    assert shown == [
        "instance\tstream\tcs, atomic",
        "instance\tstream\tpayments, chained",
        "instance\tstream\tclicks, not found yet",
    ]


def test_why_an_instance_is_not_ready_is_said() -> None:
    """Each reason has a line, right below."""
    lines = _lines({**_ALONE, "ready": False}, ["shop.users is starting", "NATS is away"])
    assert lines[:3] == [
        "instance\tready\tnot ready",
        "instance\treason\tshop.users is starting",
        "instance\treason\tNATS is away",
    ]


def test_a_cluster_is_shown_by_its_names() -> None:
    """Owners, heirs and the leader have their names; who has none is called by its node."""
    lines = _lines({**_ALONE, "cluster": _FORMED})
    assert [line for line in lines if line.startswith("cluster")] == [
        f"cluster\tnode\t{_A}",
        "cluster\tgroup\tg",
        "cluster\trole\tleader",
        "cluster\tterm\t3",
        "cluster\tleader\tmnc-0",
        "cluster\tcommit index\t41",
        "cluster\tstranger\td: another size",
    ]
    assert [line for line in lines if line.startswith("members")] == [
        f"members\tmnc-0\t{_A}\tvotes\tleader\tjoined",
        f"members\tmnc-1\t{_B}\tvotes\t\tjoined",
        f"members\t{_C}\t{_C}\tspare\t\t",
    ]
    assert [line for line in lines if line.startswith("assignment")] == [
        "assignment\tmovies\tmnc-1\t8\tmnc-0",
        "assignment\tusers\tmnc-0\t7\t-",
    ]


def test_a_snapshot_says_how_far_it_is() -> None:
    """Beside the state stand the documents that were read, and about how many there are."""
    (users,) = _ALONE["collections"]
    copying = {"state": "copying", "snapshot": {"documents": 1200, "estimated": 5000}}
    lines = _lines({**_ALONE, "collections": [{**users, **copying}]})
    assert any("\tcopying 1,200 of 5,000\t" in line for line in lines)


def test_an_owner_that_is_no_member_is_named_by_its_node() -> None:
    """Whoever was removed may own a collection for a moment more."""
    share = {"collection": "users", "owner": "gone", "epoch": 7, "heir": None}
    lines = _lines({**_ALONE, "cluster": {**_FORMED, "members": [], "assignment": [share]}})
    assert "assignment\tusers\tgone\t7\t-" in lines


def test_an_instance_without_a_group_says_so() -> None:
    """Before the cluster is formed there are no members, but strangers may explain it."""
    cluster = {"strangers": {"d": "another size"}, "node": _A, "group": None}
    assert [line for line in _lines({**_ALONE, "cluster": cluster}) if "cluster" in line] == [
        f"cluster\tnode\t{_A}",
        "cluster\tgroup\tnone yet",
        "cluster\tstranger\td: another size",
    ]


def test_a_terminal_gets_tables() -> None:
    """Sections with rows have a title and columns, and no text is taken for markup."""
    shown = _shown({**_ALONE, "ready": False, "cluster": _FORMED})
    for text in ("members", "assignment", "published", "it is [red]starting", "mnc-1"):
        assert text in shown
    assert "members" not in _shown(_ALONE)
    assert max(map(len, _shown({**_ALONE, "cluster": _FORMED}, width=60).splitlines())) <= 60


def test_what_would_steer_the_terminal_is_escaped() -> None:
    """Names are another process's: escape sequences and line ends in them are shown, not done."""
    status = {**_ALONE, "stream": "a\x1b[2Jb\tc\nd"}
    for text in ("\n".join(_lines(status)), _shown(status)):
        assert "a\\x1b[2Jb\\tc\\nd" in text
        assert "\x1b" not in text


@pytest.mark.parametrize(
    ("answer", "place"),
    [
        (b"", ""),
        (b"<html>", ""),
        (b"[]", ""),
        (b"{}", "version"),
        (json.dumps({**_ALONE, "uptime_s": "soon"}).encode(), "uptime_s"),
        (json.dumps({**_ALONE, "collections": [{}]}).encode(), "collections.0.collection"),
        (json.dumps({**_ALONE, "cluster": {"node": 1}}).encode(), "cluster.node"),
        (json.dumps({**_ALONE, "uptime_s": 1e300}).encode(), "uptime_s"),
        (b'{"uptime_s": NaN}', "version"),
        (b"[" * 100_000, ""),
    ],
)
def test_another_answer_is_an_error(answer: bytes, place: str) -> None:
    """Whatever isn't an instance's status is refused, with the place and without its text."""
    with pytest.raises(InstanceError) as caught:
        read_status(answer)
    assert place in caught.value.message
    assert "soon" not in str(caught.value)
    assert caught.value.remedy


def test_reasons_are_read() -> None:
    """The reasons are those of `/readyz`; another answer is an error."""
    assert read_reasons(b'{"ready":false,"reasons":["a","b"]}') == ["a", "b"]
    with pytest.raises(InstanceError):
        read_reasons(b"{}")
