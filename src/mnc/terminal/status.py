"""The answer of `/status`, as a person reads it: sections of rows. Pure.

The answer is another process's, maybe another version's: what isn't known is passed over, and what
isn't there, or is of another type, makes it no status at all.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Annotated, TypeVar

from pydantic import BaseModel, Field, ValidationError
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from mnc.errors import InstanceError
from mnc.terminal.event import lag_text, printable

__all__ = [
    "Section",
    "Status",
    "plain_status",
    "read_reasons",
    "read_status",
    "sections",
    "terminal_status",
]

_Answer = TypeVar("_Answer", bound=BaseModel)

_MAX_UPTIME_S = 1e10
"""Three hundred years: a timedelta holds no more than some thousand times that."""

_STYLES = {
    "ready": "green",
    "not ready": "bold red",
    "capturing": "green",
    "leader": "green",
    "stopped": "bold red",
    "restarting": "yellow",
}


class Member(BaseModel):
    """A member of the cluster."""

    node: str
    name: str | None
    joined: bool
    votes: bool


class Share(BaseModel):
    """A collection's owner, and who is about to become it."""

    collection: str
    owner: str
    epoch: int
    heir: str | None


class Cluster(BaseModel):
    """What an instance knows of its cluster; of one that has no group yet, very little."""

    node: str
    group: str | None
    role: str | None = None
    term: int | None = None
    leader: str | None = None
    commit_index: int | None = None
    members: list[Member] = []
    assignment: list[Share] = []
    strangers: dict[str, str] = {}


class Progress(BaseModel):
    """How far a snapshot is."""

    documents: int
    estimated: int


class Collection(BaseModel):
    """One collection that the instance works on."""

    collection: str
    state: str
    events_captured: int
    events_published: int
    events_checkpointed: int
    events_dead_lettered: int
    lag_s: float | None
    snapshot: Progress | None = None


class Loop(BaseModel):
    """The event loop's longest stall."""

    longest_s: float
    during: str


class Publishing(BaseModel):
    """How events get into the stream."""

    mode: str | None


class Status(BaseModel):
    """What `/status` says."""

    version: str
    uptime_s: Annotated[float, Field(ge=0, le=_MAX_UPTIME_S)]
    stream: str
    ready: bool
    publishing: Publishing
    other_streams: dict[str, Publishing] = {}
    cluster: Cluster | None = None
    loop: Loop | None = None
    collections: list[Collection]


class _Readiness(BaseModel):
    reasons: list[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Section:
    """A table of text."""

    title: str
    header: Sequence[str]
    rows: Sequence[Sequence[str]]


def read_status(data: bytes) -> Status:
    """Read an answer of `/status`. Raises InstanceError when it is none."""
    return _read(Status, data)


def read_reasons(data: bytes) -> Sequence[str]:
    """Read an answer of `/readyz`. Raises InstanceError when it is none."""
    return _read(_Readiness, data).reasons


def sections(status: Status, reasons: Sequence[str]) -> Iterator[Section]:
    """Yield what there is to show: the instance, its cluster if it has one, its collections."""
    yield Section(title="instance", header=("", ""), rows=list(_instance(status, reasons)))
    if status.cluster is not None:
        yield from _cluster(status.cluster)
    yield Section(
        title="collections of this instance",
        header=("collection", "state", "captured", "published", "checkpointed", "dead", "lag"),
        rows=[
            (
                each.collection,
                _state(each),
                f"{each.events_captured:,}",
                f"{each.events_published:,}",
                f"{each.events_checkpointed:,}",
                f"{each.events_dead_lettered:,}",
                lag_text(each.lag_s),
            )
            for each in status.collections
        ],
    )


def plain_status(shown: Sequence[Section]) -> Iterator[str]:
    """Yield a line for each row: the section's title and the cells, with tabs between them."""
    for section in shown:
        for row in section.rows:
            yield "\t".join(printable(cell) for cell in (section.title, *row))


def terminal_status(shown: Sequence[Section]) -> RenderableType:
    """Return a table for each section that has rows."""
    return Group(*(_table(section) for section in shown if section.rows))


def _instance(status: Status, reasons: Sequence[str]) -> Iterator[tuple[str, str]]:
    yield "ready", "ready" if status.ready else "not ready"
    for reason in reasons:
        yield "reason", reason
    yield "version", status.version
    yield "uptime", str(timedelta(seconds=int(status.uptime_s)))
    for name, publishing in {status.stream: status.publishing, **status.other_streams}.items():
        yield "stream", f"{name}, {publishing.mode or 'not found yet'}"
    if status.loop is not None:
        yield "longest stall", f"{status.loop.longest_s * 1000:,.0f} ms, in {status.loop.during}"


def _cluster(cluster: Cluster) -> Iterator[Section]:
    names = {member.node: member.name or member.node for member in cluster.members}

    def name_of(node: str | None) -> str:
        return "-" if node is None else names.get(node, node)

    if cluster.group is None:
        rows = [("node", cluster.node), ("group", "none yet")]
    else:
        rows = [
            ("node", cluster.node),
            ("group", cluster.group),
            ("role", cluster.role or "-"),
            ("term", _number(cluster.term)),
            ("leader", name_of(cluster.leader)),
            ("commit index", _number(cluster.commit_index)),
        ]
    rows += [("stranger", f"{sender}: {reason}") for sender, reason in cluster.strangers.items()]
    yield Section(title="cluster", header=("", ""), rows=rows)
    yield Section(
        title="members",
        header=("name", "node", "vote", "leader", "work"),
        rows=[
            (
                name_of(member.node),
                member.node,
                "votes" if member.votes else "spare",
                "leader" if member.node == cluster.leader else "",
                "joined" if member.joined else "",
            )
            for member in cluster.members
        ],
    )
    yield Section(
        title="assignment",
        header=("collection", "owner", "epoch", "heir"),
        rows=[
            (share.collection, name_of(share.owner), str(share.epoch), name_of(share.heir))
            for share in cluster.assignment
        ],
    )


def _state(collection: Collection) -> str:
    if collection.snapshot is None:
        return collection.state
    progress = collection.snapshot
    return f"{collection.state} {progress.documents:,} of {progress.estimated:,}"


def _number(value: int | None) -> str:
    return "-" if value is None else str(value)


def _table(section: Section) -> Table:
    table = Table.grid(padding=(0, 2, 0, 0))
    table.title, table.title_justify, table.title_style = section.title, "left", "bold"
    table.show_header = any(section.header)
    for name in section.header:
        table.add_column(name, header_style="dim", overflow="fold")
    for row in section.rows:
        # As Text: a string would be searched for rich's markup.
        table.add_row(*(Text(printable(cell), _STYLES.get(cell, "")) for cell in row))
    return table


def _read(model: type[_Answer], data: bytes) -> _Answer:
    try:
        return model.model_validate_json(data)
    except ValidationError as error:
        problem = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(map(str, problem["loc"]))
    # Outside the handler, so that the cause, which holds the answer, is not attached.
    raise InstanceError(
        f"the answer is not the status of an mnc instance{place and f': {printable(place)}'}",
        remedy="check that --url or HTTP_PORT names one, of about this version",
    )
