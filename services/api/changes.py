"""What has changed between two looks at the tables, as events for subscribers. Pure."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from functools import cached_property
from typing import Any, NamedTuple, Protocol

import msgspec

from services.api.schemas import SourceState


class NodeRow(NamedTuple):
    """A node's newest reading, as far as subscribers are told of it, and which version of its rows that is."""

    identifier: str
    status: str | None
    source: str | None
    fetched_at: datetime | None
    uptime_percent: Decimal | None
    jobs_day: int | None
    active_model: str | None
    earnings_day: Decimal | None
    earnings_total: Decimal | None
    version: str
    """Whatever is written to the node's rows gives it another one."""


class SettlementRow(NamedTuple):
    """When an epoch settled."""

    epoch: int
    settled_at: datetime
    exact: bool


class SourceRow(NamedTuple):
    """How a source does."""

    name: str
    state: SourceState
    data_at: datetime | None
    error: str | None


@dataclass(frozen=True, slots=True)
class Event:
    """One thing that subscribers are told: its name, and its JSON object."""

    name: str
    data: Mapping[str, Any]

    def frame(self) -> bytes:
        """The event as a stream has it."""
        return b"event: %b\ndata: %b\n\n" % (self.name.encode(), msgspec.json.encode(self.data))


@dataclass(frozen=True)
class Tick:
    """What one look found: events for everybody, and the nodes whose readings changed."""

    events: tuple[Event, ...] = ()
    nodes: frozenset[str] = frozenset()

    @cached_property
    def frames(self) -> bytes:
        """The events as a stream has them: written once, however many follow it."""
        return b"".join(event.frame() for event in self.events)


@dataclass(slots=True)
class Snapshot:
    """What the tables held at the last look."""

    nodes: dict[str, NodeRow] = field(default_factory=dict)
    settlements: dict[int, SettlementRow] = field(default_factory=dict)
    sources: dict[str, SourceRow] = field(default_factory=dict)

    def note(
        self, nodes: Iterable[NodeRow], settlements: Iterable[SettlementRow], sources: Iterable[SourceRow]
    ) -> Tick:
        """Take in rows, of which some may be as they were; returns what changed."""
        changed: dict[str, None] = {}
        read: Counter[str] = Counter()
        newest: datetime | None = None
        paid = 0
        events: list[Event] = []
        for row in nodes:
            before = self.nodes.get(row.identifier)
            if row == before:
                continue
            self.nodes[row.identifier] = row
            changed[row.identifier] = None
            if row.fetched_at is not None and (before is None or row.fetched_at != before.fetched_at):
                read[row.source or "unknown"] += 1
                newest = row.fetched_at if newest is None else max(newest, row.fetched_at)
            if before is not None and row.status != before.status:
                events.append(Event("status", _status(before, row)))
            if before is None or _earned(row) != _earned(before):
                paid += row.earnings_total is not None
        if read:
            events.append(Event("readings", {"changed": read.total(), "sources": dict(read), "newest": _utc(newest)}))
        if paid:
            events.append(Event("earnings", {"nodes": paid}))
        events += self._settled(settlements)
        events += self._sources(sources)
        return Tick(tuple(events), frozenset(changed))

    def _settled(self, rows: Iterable[SettlementRow]) -> Iterable[Event]:
        for row in sorted(rows):
            before = self.settlements.get(row.epoch)
            if row != before:
                self.settlements[row.epoch] = row
                yield Event(
                    "settlement",
                    {
                        "epoch": row.epoch,
                        "settled_at": _utc(row.settled_at),
                        "exact": row.exact,
                        "restated": before is not None,
                    },
                )

    def _sources(self, rows: Iterable[SourceRow]) -> Iterable[Event]:
        for row in sorted(rows):
            before = self.sources.get(row.name)
            self.sources[row.name] = row
            if before is None or row.state is not before.state:
                yield Event(
                    "source",
                    {
                        "name": row.name,
                        "from": before and before.state.value,
                        "to": row.state.value,
                        "error": row.error,
                        "data_at": _utc(row.data_at),
                    },
                )


def _earned(row: NodeRow) -> tuple[Decimal | None, Decimal | None]:
    return row.earnings_day, row.earnings_total


def _status(before: NodeRow, row: NodeRow) -> Mapping[str, Any]:
    return {
        "identifier": row.identifier,
        "from": before.status,
        "to": row.status,
        "at": _utc(row.fetched_at),
        "source": row.source,
    }


def reading(row: NodeRow) -> Event:
    """A node's newest reading, for those who follow this node."""
    return Event(
        "reading",
        {
            "identifier": row.identifier,
            "status": row.status,
            "source": row.source,
            "fetched_at": _utc(row.fetched_at),
            "uptime_percent": None if row.uptime_percent is None else float(row.uptime_percent),
            "jobs_day": row.jobs_day,
            "active_model": row.active_model,
            "earnings_total_gnk": None if row.earnings_total is None else f"{row.earnings_total:f}",
        },
    )


def _utc(moment: datetime | None) -> str | None:
    return None if moment is None else moment.astimezone(UTC).isoformat().replace("+00:00", "Z")


class Row(Protocol):
    """A row whose columns are read by name."""

    def __getitem__(self, column: str, /) -> Any:
        """The column's value."""
        ...


def source_state(row: Row, now: datetime, ttl_seconds: float) -> SourceState:
    """How the source does, from its row in tracker_sources."""
    attempt, success, error = row["last_attempt_at"], row["last_success_at"], row["last_error_at"]
    if attempt is None:
        return SourceState.UNKNOWN
    if (now - attempt).total_seconds() > 3 * (row["poll_interval_seconds"] or 0) + 60:
        return SourceState.SILENT
    if error is not None and (success is None or error > success):
        return SourceState.FAILING
    if row["data_at"] is None or (now - row["data_at"]).total_seconds() > ttl_seconds:
        return SourceState.STALE
    return SourceState.OK
