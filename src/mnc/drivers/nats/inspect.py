"""What NATS says of itself and of the streams, for `mnc check`. Nothing is changed.

Who may not publish to a subject of the server's API gets no answer at all. So the questions are
asked at the same time, and those that aren't answered cost the deadline once.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from itertools import zip_longest
from typing import Any

import orjson
import trio
from nats.aio.client import Client

from mnc.drivers.nats.positions import last_positions
from mnc.drivers.nats.replies import STREAM_NOT_FOUND, error_code, parse_reply, raise_error
from mnc.drivers.nats.session import NatsSession
from mnc.drivers.nats.stream import has_batches, too_old, update_command
from mnc.drivers.nats.stream_api import StreamApi
from mnc.drivers.nats.stream_config import BATCH_FLAGS, amended_config, covers, obstacle, takes
from mnc.encode.subject import encode_name, marker_subject, stream_subjects
from mnc.errors import SinkError, SinkRefusedError, SinkUnavailableError
from mnc.model import Checkpoint
from mnc.preflight.facts import AccountFacts, NatsFacts, StreamFacts

__all__ = ["denied_subjects", "inspect_nats", "stream_facts"]

_Answer = dict[str, Any]

_USER_INFO = "$SYS.REQ.USER.INFO"
_ANSWER_MIN_S = 0.5
"""What a question gets when connecting took almost all of the time."""

_NS = 1_000_000_000


async def inspect_nats(
    session: NatsSession, *, watched: Mapping[str, Sequence[str]], timeout_s: float
) -> Sequence[NatsFacts]:
    """Collect the facts about NATS over a running session, in `timeout_s` seconds or little more.

    `watched` are the collections of each stream, by its name; there is an answer for each stream,
    in their order.

    Raises SinkError when NATS can't be reached or refuses the login.

    Cancellation: takes effect at once.
    """
    deadline = trio.current_time() + timeout_s
    with trio.move_on_at(deadline) as scope:
        await session.wait_connected()
    if scope.cancelled_caught:
        reason = session.last_error or "no answer in time"
        remedy = "" if "NATS_" in reason else "start it, or correct NATS_SERVER_URL"
        raise SinkUnavailableError(f"NATS can't be reached: {reason}", remedy=remedy)
    facts: dict[str, NatsFacts] = {}

    async def inspect(stream: str, collections: Sequence[str]) -> None:
        inspection = _Inspection(session, stream=stream, watched=collections, deadline=deadline)
        facts[stream] = await inspection.run()

    async with trio.open_nursery() as nursery:
        for stream, collections in watched.items():
            nursery.start_soon(inspect, stream, collections)
    return [facts[stream] for stream in watched]


class _Inspection:
    """The questions that one run of `mnc check` asks about one stream."""

    def __init__(
        self, session: NatsSession, *, stream: str, watched: Sequence[str], deadline: float
    ) -> None:
        self._session = session
        self._stream = stream
        self._has_batches = has_batches(session)
        events, *others = stream_subjects(stream)
        self._subjects = (events, *others) if self._has_batches else (events,)
        self._watched = watched
        self._deadline = deadline

    async def run(self) -> NatsFacts:
        user, info, found, *names = await self._ask_all(
            [
                (_USER_INFO, b""),
                ("$JS.API.INFO", b""),
                (f"$JS.API.STREAM.INFO.{self._stream}", b""),
                *(
                    ("$JS.API.STREAM.NAMES", orjson.dumps({"subject": subject}))
                    for subject in self._subjects
                ),
            ]
        )
        account: AccountFacts | SinkError
        try:
            stream = await self._existing(found)
            stored_bytes, limit_bytes = _storage(info)
            account = AccountFacts(
                stored_bytes=stored_bytes,
                storage_limit_bytes=limit_bytes,
                is_clustered=_is_clustered(user, found),
                stream=stream,
                overlapping=self._overlapping(names),
            )
        except SinkError as error:
            stream, account = None, error
        return NatsFacts(
            address=await self._session.call(_address),
            stream=self._stream,
            subjects=self._subjects,
            version=self._session.server_version,
            max_payload_bytes=self._session.max_payload_bytes,
            denied=self._denied(user, self._needed(stream)),
            account=account,
            without_batches=self._without_batches(user, stream),
        )

    async def _existing(self, found: _Answer | SinkError) -> StreamFacts | None:
        """Return the facts about the stream, or None. Raises SinkError."""
        if isinstance(found, SinkError):
            raise found
        if error_code(found) == STREAM_NOT_FOUND:
            return None
        raise_error(found, stream=self._stream)
        return stream_facts(
            found,
            subjects=self._subjects,
            flags=BATCH_FLAGS if self._has_batches else (),
            markers=await self._markers(),
        )

    async def _markers(self) -> Mapping[str, Checkpoint]:
        api = StreamApi(self._session, stream=self._stream, timeout_s=self._left_s())
        subjects = {
            name: marker_subject(stream=self._stream, collection=name) for name in self._watched
        }
        positions = {
            name: (await last_positions(api, subject)).latest for name, subject in subjects.items()
        }
        return {name: reached for name, reached in positions.items() if reached is not None}

    def _overlapping(self, names: Sequence[_Answer | SinkError]) -> Collection[str] | None:
        others = set[str]()
        for answer in names:
            if isinstance(answer, SinkError) or error_code(answer) is not None:
                return None
            others.update(answer.get("streams") or ())
        return others - {self._stream}

    def _needed(self, stream: StreamFacts | None) -> Sequence[str]:
        """Return the subjects that the user has to publish to."""
        create = ["CREATE"] if stream is None else []
        change = [] if stream is None or stream.takes_events else ["UPDATE"]
        verbs = ["INFO", *create, *change, "MSG.GET"]
        markers = [marker_subject(stream=self._stream, collection=name) for name in self._watched]
        return [
            *(f"$JS.API.STREAM.{verb}.{self._stream}" for verb in verbs),
            *(f"{self._stream}.{encode_name(name)}.*.*" for name in self._watched),
            *(markers if self._has_batches else ()),
        ]

    def _denied(self, user: _Answer | SinkError, needed: Iterable[str]) -> Collection[str] | None:
        if isinstance(user, SinkError) or "data" not in user:
            return None
        permissions = user["data"].get("permissions") or {}
        return denied_subjects(permissions.get("publish") or {}, needed)

    def _without_batches(
        self, user: _Answer | SinkError, stream: StreamFacts | None
    ) -> SinkRefusedError | None:
        """Return why events won't be published in atomic batches, or None."""
        if not self._has_batches:
            return too_old(self._session)
        update = f"$JS.API.STREAM.UPDATE.{self._stream}"
        if stream is None or stream.takes_batches or not self._denied(user, [update]):
            return None
        return SinkRefusedError(
            f"this user may not add to stream {self._stream}: {', '.join(stream.lacks)}",
            remedy=f"permit {update} to it, or run: {stream.update_command}",
        )

    async def _ask_all(
        self, questions: Sequence[tuple[str, bytes]]
    ) -> Sequence[_Answer | SinkError]:
        """Ask the server's API; return the answers in order, or why there is none."""
        answers: dict[int, _Answer | SinkError] = {}

        async def ask(number: int, subject: str, payload: bytes) -> None:
            try:
                answers[number] = await self._session.call(
                    self._request, subject, payload, timeout_s=self._left_s()
                )
            except SinkError as error:
                answers[number] = error

        async with trio.open_nursery() as nursery:
            for number, (subject, payload) in enumerate(questions):
                nursery.start_soon(ask, number, subject, payload)
        return [answers[number] for number in range(len(questions))]

    async def _request(
        self, client: Client, subject: str, payload: bytes, *, timeout_s: float
    ) -> _Answer:
        answer = await self._session.request(client, subject, payload, timeout_s=timeout_s)
        return parse_reply(answer.data)

    def _left_s(self) -> float:
        return max(self._deadline - trio.current_time(), _ANSWER_MIN_S)


def stream_facts(
    found: Mapping[str, Any],
    *,
    subjects: Sequence[str],
    flags: Sequence[str] = BATCH_FLAGS,
    markers: Mapping[str, Checkpoint],
) -> StreamFacts:
    """Return what a STREAM.INFO answer says. Pure."""
    config = found["config"]
    amended: Mapping[str, Any] = amended_config(config, subjects, flags=flags) or config
    return StreamFacts(
        messages=found["state"]["messages"],
        lacks=[
            *(f"subject {s}" for s in amended["subjects"] if s not in config.get("subjects", ())),
            *(name for name, value in amended.items() if value is True and not config.get(name)),
        ],
        takes_events=takes(config, subjects[0]),
        # The last subject is that of the dead letters, which `JetStream.ensure` doesn't insist on.
        takes_batches=amended_config(config, subjects[:2], flags=flags) is None,
        update_command=update_command(config, subjects),
        storage=config["storage"],
        retention=config["retention"],
        discard=config["discard"],
        replicas=config["num_replicas"],
        max_messages=_limit(config["max_msgs"]),
        max_bytes=_limit(config["max_bytes"]),
        max_age_s=_limit(config["max_age"]) / _NS,
        max_messages_per_subject=_limit(config["max_msgs_per_subject"]),
        max_message_bytes=_limit(config["max_msg_size"]),
        duplicate_window_s=config.get("duplicate_window", 0) / _NS,
        obstacle=obstacle(config),
        markers=markers,
    )


def denied_subjects(publish: Mapping[str, Iterable[str]], needed: Iterable[str]) -> Collection[str]:
    """Return those of `needed` that a user's permissions to publish exclude, or a part of. Pure."""
    allow, deny = tuple(publish.get("allow") or ">"), tuple(publish.get("deny") or ())
    return [
        subject
        for subject in needed
        if not any(covers(pattern, subject) for pattern in allow)
        or any(_overlap(pattern, subject) for pattern in deny)
    ]


def _overlap(one: str, other: str) -> bool:
    """Say whether two subjects with wildcards have a subject in common."""
    for left, right in zip_longest(one.split("."), other.split(".")):
        if left is None or right is None:
            return False
        if ">" in {left, right}:
            return True
        if left != right and "*" not in {left, right}:
            return False
    return True


def _storage(info: _Answer | SinkError) -> tuple[int | None, int | None]:
    """Return the bytes that the account has stored, and its limit."""
    if isinstance(info, SinkError) or error_code(info) is not None:
        return None, None
    limit = info["limits"]["max_storage"]
    return info["storage"], None if limit < 0 else limit


def _is_clustered(user: _Answer | SinkError, stream: _Answer | SinkError) -> bool:
    # A server without a cluster calls itself the leader, but names no cluster.
    of_stream = stream.get("cluster", {}) if isinstance(stream, dict) else {}
    of_server = user.get("server", {}) if isinstance(user, dict) else {}
    return "name" in of_stream or "cluster" in of_server


def _limit(value: int) -> int:
    """Return a stream's limit, 0 for none, which JetStream writes in two ways."""
    return max(value, 0)


async def _address(client: Client) -> str:
    url = client.connected_url
    return "" if url is None else f"{url.hostname}:{url.port}"  # `netloc` would have the password
