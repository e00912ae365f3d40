"""What a leader shares out is what is wanted, by whomever it was found."""

from __future__ import annotations

from mnc.config import Selections
from mnc.service.ownership import wanted

_SELECTIONS = Selections.of(["users", "orders_*", "!orders_old"], home="shop")


def test_a_leader_shares_out_names_and_what_it_found() -> None:
    """Names are shared out at once, and what was found beside them."""
    assert wanted(_SELECTIONS, found={"users", "orders_1"}, shared=set()) == {"users", "orders_1"}


def test_a_new_leader_keeps_what_is_wanted_still() -> None:
    """Before it has found anything itself it takes from nobody what the globs take."""
    shared = {"users", "orders_1", "orders_old", "movies"}
    assert wanted(_SELECTIONS, found=set(), shared=shared) == {"users", "orders_1"}
