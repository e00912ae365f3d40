"""What the settings say of events and positions reaches those who act on it."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.fakes.tokens import event_token

from mnc.config import OversizePolicy, PoisonPolicy, Settings, load_settings
from mnc.drivers.nats.session import NatsSession
from mnc.encode.event import EventUnencodableError
from mnc.model import ClusterTime
from mnc.publish.remedy import ClaimChecks, DeadLetters, Remedy, Stop
from mnc.service.policies import Policies
from mnc.service.workshop import lost_history

_POISON = {
    "_id": {"_data": event_token(ClusterTime(1_700_000_000, 1)).data},
    "operationType": "insert",
    "ns": {"db": "shop", "coll": "users"},
    "documentKey": {"_id": object()},
}
"""An event with an `_id` that no BSON has."""


def _settings(**variables: str) -> Settings:
    required = {
        "MONGO_URI": "mongodb://127.0.0.1/shop",
        "MONGO_WATCH_COLLECTIONS": "users",
    }
    return load_settings(required | variables)


def _policies(**variables: str) -> Policies:
    settings = _settings(**variables)
    return Policies(settings, NatsSession(settings.nats_servers, name="mnc", security=settings))


@pytest.mark.parametrize(
    ("value", "remedy"),
    [("objectstore", ClaimChecks), ("deadletter", DeadLetters), ("stop", Stop)],
)
def test_large_events_are_handled_as_the_setting_says(
    value: OversizePolicy, remedy: type[Remedy]
) -> None:
    """Each value of NATS_OVERSIZE has a remedy of its own."""
    assert isinstance(_policies(NATS_OVERSIZE=value).remedies("users").oversize, remedy)


@pytest.mark.parametrize(("value", "remedy"), [("deadletter", DeadLetters), ("stop", Stop)])
def test_poison_is_handled_as_the_setting_says(value: PoisonPolicy, remedy: type[Remedy]) -> None:
    """PUBLISH_ON_POISON counts for what JetStream refuses and for what can't be encoded."""
    policies = _policies(PUBLISH_ON_POISON=value)
    assert isinstance(policies.remedies("users").poison, remedy)
    if value == "stop":
        with pytest.raises(EventUnencodableError):
            policies.encode(_POISON, "users")
    else:
        assert policies.encode(_POISON, "users").dead_letter is not None


def test_events_go_to_the_stream_of_their_section(tmp_path: Path) -> None:
    """A collection's stream stands in its subjects, in those of dead letters too."""
    path = tmp_path / "mnc.toml"
    path.write_text('[[collections]]\nmatch = "users"\nnats_stream_name = "own"\n')
    policies = _policies(MNC_CONFIG=str(path), MONGO_WATCH_COLLECTIONS="users,movies")
    found = {name: policies.encode(_POISON, name).subject for name in ("users", "movies")}
    assert found == {"users": "own_deadletter.users", "movies": "cs_deadletter.movies"}
    assert {name: policies.stream(name) for name in found} == {"users": "own", "movies": "cs"}


@pytest.mark.parametrize(
    ("snapshot", "history", "policy"),
    [
        ("never", "stop", "stop"),
        ("initial", "stop", "stop"),
        ("when_needed", "stop", "snapshot"),
        ("never", "snapshot", "snapshot"),
        ("initial", "now", "now"),
    ],
)
def test_lost_history_is_handled_as_the_settings_say(
    snapshot: str, history: str, policy: str
) -> None:
    """MONGO_SNAPSHOT=when_needed replaces `stop`, and nothing else does."""
    settings = _settings(MONGO_SNAPSHOT=snapshot, MONGO_ON_HISTORY_LOST=history)
    assert lost_history(settings) == policy
