"""What the settings say of each collection: what is captured, and what of an event that fails."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from typing import assert_never

from pydantic import SecretStr

from mnc.capture.demultiplex import Encode
from mnc.capture.options import CaptureOptions
from mnc.capture.ports import ChangeDocument
from mnc.config import CollectionPolicy, PoisonPolicy, Settings
from mnc.config.paths import split_mask
from mnc.drivers.nats.claims import JetStreamPayloads
from mnc.drivers.nats.session import NatsSession
from mnc.encode.dead_letter import DeadLetteringEncoder
from mnc.encode.event import Encoder
from mnc.encode.hiding import Exclude, Hash, Hiding, Redact, Treatment
from mnc.encode.subject import SubjectForm
from mnc.model import EXPANDED_OPERATIONS, EncodedEvent, Namespace, ResumeToken
from mnc.publish.remedy import ClaimChecks, DeadLetters, Remedies, Remedy, Stop

__all__ = ["Policies", "capture_options"]


class Policies:
    """The policies of all collections, each looked up once. It encodes as they say (`Encode`)."""

    def __init__(self, settings: Settings, session: NatsSession) -> None:
        self._settings = settings
        self._known: dict[str, CollectionPolicy] = {}
        self._known_encoders: dict[str, Encode] = {}
        self._payloads = {
            stream: JetStreamPayloads(
                session, stream=stream, ack_timeout_s=settings.nats_ack_timeout_s
            )
            for stream in settings.streams
        }
        self._encoders = {policy: _encoder(settings, policy) for policy in settings.policies}

    def _of(self, collection: str) -> CollectionPolicy:
        policy = self._known.get(collection)
        if policy is None:
            policy = self._known[collection] = self._settings.policy(collection)
        return policy

    def stream(self, collection: str) -> str:
        """Return the name of a collection's stream."""
        return self._of(collection).stream

    def operations(self, collection: str) -> Collection[str]:
        """Return the operations of a collection that are published."""
        return self._of(collection).operations

    def options(self, collection: str) -> CaptureOptions:
        """Return what the change streams of a collection are opened with."""
        home = self._settings.mongo_database
        database = Namespace.of(collection, home=home).database
        options = capture_options(self._of(collection))
        return options if database == home else replace(options, database=database)

    def remedies(self, collection: str) -> Remedies:
        """Return what becomes of events of a collection that the stream doesn't take."""
        policy = self._of(collection)
        return Remedies(oversize=self._for_oversize(policy), poison=_for_poison(policy.on_poison))

    def encode(self, change: ChangeDocument, collection: str, /) -> EncodedEvent:
        """See `Encode.encode`."""
        encoder = self._known_encoders.get(collection)
        if encoder is None:
            encoder = self._known_encoders[collection] = self._encoders[self._of(collection)]
        return encoder.encode(change, collection)

    def token_of(self, change: ChangeDocument, /) -> ResumeToken:
        """See `Encode.token_of`."""
        return Encoder.token_of(change)

    def _for_oversize(self, policy: CollectionPolicy) -> Remedy:
        match policy.oversize:
            case "objectstore":
                return ClaimChecks(self._payloads[policy.stream])
            case "deadletter":
                return DeadLetters()
            case "stop":
                return Stop("set NATS_OVERSIZE=objectstore")
            case _:
                assert_never(policy.oversize)


def capture_options(policy: CollectionPolicy) -> CaptureOptions:
    """Return what change streams are opened with where `policy` is in force."""
    return CaptureOptions(
        full_document=policy.full_document,
        before_change=policy.before_change,
        expanded_events=not EXPANDED_OPERATIONS.isdisjoint(policy.operations),
        pipeline=policy.pipeline,
    )


def _encoder(settings: Settings, policy: CollectionPolicy) -> Encode:
    encoder = Encoder(
        stream=policy.stream,
        form=SubjectForm.of(policy.subject),
        hiding=_hiding(policy, key=settings.mongo_mask_key),
    )
    return encoder if policy.on_poison == "stop" else DeadLetteringEncoder(encoder)


def _for_poison(policy: PoisonPolicy) -> Remedy:
    match policy:
        case "deadletter":
            return DeadLetters()
        case "stop":
            return Stop("set PUBLISH_ON_POISON=deadletter to go on")
        case _:
            assert_never(policy)


def _hiding(policy: CollectionPolicy, *, key: SecretStr | None) -> Hiding:
    """Return what a policy says of fields that aren't to be seen."""
    treatments: dict[str, Treatment] = dict.fromkeys(policy.excluded, Exclude())
    for path, mask in map(split_mask, policy.masks):
        match mask:
            case "redact":
                treatments[path] = Redact()
            case "hash":
                assert key is not None  # noqa: S101 - the settings are checked
                treatments[path] = Hash(key.get_secret_value().encode())
            case _:
                assert_never(mask)
    return Hiding.of(treatments)
