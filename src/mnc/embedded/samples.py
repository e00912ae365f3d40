"""Sample data: users and films, and changes to them that go on for ever. Pure."""

from __future__ import annotations

import random
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any

__all__ = ["SAMPLES", "Change", "Delete", "Insert", "Replace", "SampleData", "Update"]

_FEW, _MANY = 3, 40
"""A collection is kept between these sizes, roughly, however long the demonstration runs."""

_FIRST_NAMES = (
    *("Ada", "Alan", "Barbara", "Claude", "Donald", "Edsger", "Frances", "Grace"),
    *("Hedy", "Joan", "Katherine", "Leslie", "Margaret", "Niklaus", "Radia", "Tim"),
)
_LAST_NAMES = (
    *("Abara", "Berg", "Costa", "Dubois", "Eriksen", "Fischer", "Garcia", "Haddad"),
    *("Ivanova", "Jansen", "Kim", "Lopez", "Moreau", "Nakamura", "Okafor", "Rossi"),
)
_CITIES = ("Accra", "Berlin", "Lima", "Lyon", "Osaka", "Oslo", "Porto", "Quito", "Riga", "Turin")
_PLANS = ("free", "basic", "premium")
_ADJECTIVES = ("Burning", "Distant", "Forgotten", "Golden", "Hidden", "Last", "Lost", "Silent")
_NOUNS = ("Bridge", "City", "Garden", "Harbour", "Island", "Letter", "Mountain", "Winter")
_GENRES = ("comedy", "crime", "drama", "family", "mystery", "romance", "thriller", "western")


@dataclass(frozen=True, slots=True)
class Insert:
    """Add a document; without an `_id` MongoDB's client makes one."""

    collection: str
    document: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Update:
    """Change some fields of a document."""

    collection: str
    document_id: object
    operators: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Replace:
    """Put another document in a document's place."""

    collection: str
    document_id: object
    document: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Delete:
    """Remove a document."""

    collection: str
    document_id: object


Change = Insert | Update | Replace | Delete


@dataclass(frozen=True, slots=True)
class _Sample:
    """How the documents of a collection are made up and changed."""

    document: Callable[[random.Random], Mapping[str, Any]]
    operators: Callable[[random.Random], Mapping[str, Any]]


def _user(rng: random.Random) -> Mapping[str, Any]:
    first, last = rng.choice(_FIRST_NAMES), rng.choice(_LAST_NAMES)
    return {
        "name": f"{first} {last}",
        "email": f"{first}.{last}@example.com".lower(),
        "city": rng.choice(_CITIES),
        "plan": rng.choice(_PLANS),
        "logins": 0,
    }


def _user_operators(rng: random.Random) -> Mapping[str, Any]:
    return rng.choice(
        (
            {"$inc": {"logins": 1}},
            {"$set": {"city": rng.choice(_CITIES)}},
            {"$set": {"plan": rng.choice(_PLANS)}},
        )
    )


def _movie(rng: random.Random) -> Mapping[str, Any]:
    return {
        "title": f"The {rng.choice(_ADJECTIVES)} {rng.choice(_NOUNS)}",
        "year": rng.randint(1950, 2025),
        "genres": rng.sample(_GENRES, 2),
        "rating": round(rng.uniform(1, 10), 1),
        "votes": rng.randint(10, 5_000),
    }


def _movie_operators(rng: random.Random) -> Mapping[str, Any]:
    return {"$set": {"rating": round(rng.uniform(1, 10), 1)}, "$inc": {"votes": 1}}


SAMPLES: Mapping[str, _Sample] = {
    "users": _Sample(_user, _user_operators),
    "movies": _Sample(_movie, _movie_operators),
}
"""The collections that there is sample data for."""


class SampleData:
    """Makes up one change after the other. Pure: the same seed gives the same changes.

    Invariants: only documents are changed that `ids` or `added` named and no Delete has removed.
    """

    def __init__(self, rng: random.Random, ids: Mapping[str, Collection[object]]) -> None:
        """Begin with what is in the collections that `ids` names, which are among SAMPLES."""
        self._rng = rng
        self._ids = {name: list(present) for name, present in ids.items()}

    def added(self, collection: str, document_id: object) -> None:
        """Take note of the `_id` that an inserted document got."""
        self._ids[collection].append(document_id)

    def next_change(self) -> Change:
        """Return a change to make."""
        rng = self._rng
        name = rng.choice(list(self._ids))
        sample, ids = SAMPLES[name], self._ids[name]
        if len(ids) < _FEW:
            return Insert(name, sample.document(rng))
        weights = (3, 4, 2, 2 if len(ids) < _MANY else 4)
        kind = rng.choices((Insert, Update, Replace, Delete), weights)[0]
        if kind is Insert:
            return Insert(name, sample.document(rng))
        document_id = rng.choice(ids)
        if kind is Update:
            return Update(name, document_id, sample.operators(rng))
        if kind is Replace:
            return Replace(name, document_id, sample.document(rng))
        ids.remove(document_id)
        return Delete(name, document_id)
