"""Which readings of a batch matter: pure reduction, with the same orders as the statements of store.py."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import TypeAlias

from services.cache.uptime import Slots, slot_of
from services.kernel.events import OPERATOR_SOURCE, IdentifierType, NodeReading, SourceStatus

Identity: TypeAlias = tuple[str, str, datetime]
"""What identifies a reading: identifier, source, observed_at."""

FACT_FIELDS = ("tokens_per_sec", "display_name", "gpu_type", "region")


@dataclass(frozen=True, slots=True)
class Fact:
    """A value that one source reported for one field of a node."""

    value: str
    source: str
    observed_at: datetime

    @property
    def rank(self) -> tuple[bool, datetime, str]:
        """Last writer wins; a person's value outranks every tracker's; ties go to the greater source name."""
        return (self.source == OPERATOR_SOURCE, self.observed_at, self.source)


@dataclass(slots=True)
class Reduced:
    """What of a batch can still change a row."""

    types: dict[str, IdentifierType] = field(default_factory=dict)
    stats: dict[tuple[str, str], NodeReading] = field(default_factory=dict)  # by (identifier, source)
    facts: dict[tuple[str, str], Fact] = field(default_factory=dict)  # by (identifier, field)
    slots: dict[tuple[str, date], Slots] = field(default_factory=dict)  # by (identifier, UTC date)
    identities: set[Identity] = field(default_factory=set)  # of all readings


def reduce_readings(readings: Iterable[NodeReading]) -> Reduced:
    """The newest reading of each node and source, the newest fact of each field, and the five-minute slots seen.

    Of two readings with one identity the first stays. Preferences between sources are not applied here: they live in
    tracker_sources, and the statement that merges reads them.
    """
    reduced = Reduced()
    stats = reduced.stats
    for reading in readings:
        identifier = reading.identifier
        reduced.types.setdefault(identifier, reading.identifier_type)
        reduced.identities.add((identifier, reading.source, reading.observed_at))
        if reading.status is not None:
            key = (identifier, reading.source)
            held = stats.get(key)
            if held is None or reading.observed_at > held.observed_at:
                stats[key] = reading
            if reading.health_probed:
                day, slot = slot_of(reading.observed_at)
                reduced.slots.setdefault((identifier, day), Slots()).see(slot, healthy=reading.status == "healthy")
        _reduce_facts(reduced.facts, reading)
    return reduced


def _reduce_facts(facts: dict[tuple[str, str], Fact], reading: NodeReading) -> None:
    for name in FACT_FIELDS:
        value = getattr(reading, name)
        if value is not None:
            fact = Fact(str(value), reading.source, reading.observed_at)
            held = facts.get((reading.identifier, name))
            if held is None or fact.rank > held.rank:
                facts[reading.identifier, name] = fact


def newest_totals(statuses: Iterable[SourceStatus]) -> dict[tuple[str, int], tuple[datetime, int]]:
    """What each source said last of an epoch's total: (source, epoch) → (when it was told, ngonka).

    Of two totals told at one time the larger is kept.
    """
    newest: dict[tuple[str, int], tuple[datetime, int]] = {}
    for status in statuses:
        if status.total_epoch is not None and status.total_ngonka is not None:
            key, said = (status.source, status.total_epoch), (status.reported_at, int(status.total_ngonka))
            newest[key] = max(said, newest.get(key, said))
    return newest
