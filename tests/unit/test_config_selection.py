"""Names, globs and exclusions choose collections, the same way here and on the server."""

from __future__ import annotations

import re
from fnmatch import fnmatchcase

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mnc.config.selection import Selection, Selections, check_entry


def _select(*entries: str) -> Selection:
    return Selection.of(entries, reserved=["tokens"])


def _all(*entries: str) -> Selections:
    return Selections.of(entries, home="shop", reserved=["tokens"])


@pytest.mark.parametrize(
    ("entries", "wanted", "unwanted"),
    [
        (["users"], ["users"], ["users2", "user"]),
        (["orders_*"], ["orders_", "orders_1", "orders_a.b", "orders_\n"], ["orders", "xorders_1"]),
        (["*"], ["a", "é", "a.b", "!a"], []),
        (["caf?"], ["café", "cafe"], ["caf", "caffè", "cafe\n"]),
        (["*_v?"], ["a_v1", "_vx"], ["a_v", "a_v12"]),
        (["*", "!audit_*"], ["a", "my_audit_1"], ["audit_", "audit_1"]),
        (["!audit_*", "*"], ["a"], ["audit_1"]),
        (["*", "!users"], ["users2"], ["users"]),
        (["users", "movies", "!users"], ["movies"], ["users"]),
        (["orders_*", "users"], ["orders_1", "users"], ["movies"]),
        (["a.b*"], ["a.b", "a.bc"], ["axb"]),
    ],
)
def test_names_are_chosen(entries: list[str], wanted: list[str], unwanted: list[str]) -> None:
    """Globs match whole names, an exclusion wins wherever it stands, all else is literal."""
    for chosen in (_select(*entries), _select(*reversed(entries))):
        assert [name for name in wanted if not chosen.wants(name)] == []
        assert [name for name in unwanted if chosen.wants(name)] == []


@pytest.mark.parametrize(
    "name",
    [
        "tokens",
        "system.views",
        "system.buckets.weather",
        "a.system.b",
        "enxcol_.a.esc",
        "tmp.agg_out.7a22ddc5-a434-4ead-b3bd-4ed6be2f4430",
        "tmp.mr.a_0",
        "tmpLfwqw.renameCollection",
    ],
)
def test_no_glob_takes_what_is_not_the_users(name: str) -> None:
    """The connector's own collection, MongoDB's, and those that have no name yet are left alone."""
    assert not _select("*").wants(name)


@pytest.mark.parametrize("name", ["systems", "system", "tmp.agg_output", "token", "tokens2"])
def test_names_that_look_alike_are_taken(name: str) -> None:
    """What only begins like something reserved is the user's."""
    assert _select("*").wants(name)


def test_plain_names_are_known_beforehand() -> None:
    """Names are watched before they exist; globs have to be looked for."""
    assert _select("users", "movies", "!movies").names == ("users",)
    assert _select("users", "!movies").globs == ()
    assert _select("users", "orders_*").globs == ("orders_*",)


@pytest.mark.parametrize(
    "entries",
    [["!a"], ["!*"], ["users", "!*"], ["users", "!u*"], ["crm.a", "!crm.*"], ["a", "!shop.a"]],
)
def test_something_has_to_be_left(entries: list[str]) -> None:
    """Entries that leave no name and have no glob are refused."""
    with pytest.raises(ValueError, match="nothing is left"):
        _all(*entries)


@given(
    st.text("ab.*?é\n", min_size=1, max_size=6),
    st.text("ab.*?é\n", min_size=1, max_size=4),
    st.text("ab.é\n", max_size=6),
)
def test_globs_mean_what_the_shell_means(glob: str, left_out: str, name: str) -> None:
    """For any glob and name, the answer is that of `fnmatch`."""
    chosen = Selection.of([glob + "*", f"!{left_out}"])
    assert chosen.wants(name) == (fnmatchcase(name, glob + "*") and not fnmatchcase(name, left_out))


# --- several databases ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("entries", "wanted", "unwanted"),
    [
        (["orders", "crm.users"], ["orders", "crm.users"], ["users", "crm.orders"]),
        (["*"], ["a", "shop.a.b", "shop.shop.a"], ["crm.a", "shop.tokens"]),
        (["crm.*"], ["crm.a", "crm.a.b", "crm.crm.a"], ["a", "shop.crm.a", "crm2.a"]),
        (["crm.*"], ["crm.token"], ["crm.tokens"]),
        (["crm.lead_*", "!crm.lead_tmp"], ["crm.lead_1"], ["crm.lead_tmp", "lead_1"]),
        (["*", "crm.*", "!audit"], ["crm.audit"], ["audit"]),
        (["*", "crm.*", "!crm.audit"], ["audit"], ["crm.audit"]),
        (["shop.orders"], ["orders"], ["crm.orders"]),
        (["orders", "!shop.users", "*"], ["orders"], ["users"]),
        (["shop.orders.archive"], ["shop.orders.archive"], ["orders", "orders.archive"]),
        (["orders.archive"], ["orders.archive"], ["shop.orders.archive"]),
        (["crm.a.b*"], ["crm.a.b", "crm.a.bc"], ["crm.axb", "a.b"]),
        (["é.ü?"], ["é.üx"], ["é.ü", "üx"]),
        (["CRM.a"], ["CRM.a"], ["crm.a"]),
    ],
)
def test_collections_of_several_databases_are_chosen(
    entries: list[str], wanted: list[str], unwanted: list[str]
) -> None:
    """What stands before the first dot is the database, of names, globs and exclusions alike."""
    for chosen in (_all(*entries), _all(*reversed(entries))):
        assert [key for key in wanted if not chosen.wants(key)] == []
        assert [key for key in unwanted if chosen.wants(key)] == []


def test_names_go_by_their_keys() -> None:
    """A collection of the database in MONGO_URI has one key, however it is written."""
    chosen = _all("orders", "shop.orders", "shop.users", "shop.a.b", "crm.users", "crm.*")
    assert chosen.names == ("orders", "users", "shop.a.b", "crm.users")


def test_a_database_with_nothing_to_watch_is_none() -> None:
    """Where everything is left out, no change stream is needed."""
    assert set(_all("orders", "crm.users", "!crm.*", "!hr.x").databases) == {"shop"}
    assert set(_all("crm.users").databases) == {"crm"}


# --- entries -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "entry",
    ["users", "*", "orders_*", "!audit_*", "!users", "a.b?", "é*", "!crm.*", "a.b.c"],
)
def test_legal_entries_pass(entry: str) -> None:
    """An entry that a name can match is accepted."""
    assert check_entry(entry, home="shop") == entry


@pytest.mark.parametrize(
    "entry",
    [
        "",
        "!",
        "a$*",
        "!a$",
        "shop.system.*",
        "\0*",
        ".*",
        "x*" * 130,
        "a.",
        "!a.",
        "a b.c",
        "local.x",
    ],
)
def test_entries_that_match_nothing_are_refused(entry: str) -> None:
    """An entry that no collection's name can match is a mistake, and told."""
    with pytest.raises(ValueError, match=r"collection|bytes|name|database"):
        check_entry(entry, home="shop")


@pytest.mark.parametrize(
    ("entry", "problem"),
    [
        ("crm_*.users", "'crm_*.users' has a pattern for the database"),
        ("!?.users", "has a pattern for the database"),
        ("*.archive", "name each database"),
        ("crm.!users", "put it first"),
        ("a/b.c", "'a/b' is not the name of a database"),
        (f"{'x' * 64}.a", "is not the name of a database"),
        ("admin.users", "no change stream on the database 'admin'"),
        (f"crm.{'x' * 252}", "longer than 255 bytes together"),
    ],
)
def test_what_is_wrong_with_an_entry_is_told(entry: str, problem: str) -> None:
    """The error says which part of the entry is wrong, and what to do."""
    with pytest.raises(ValueError, match=re.escape(problem)):
        check_entry(entry, home="shop")
