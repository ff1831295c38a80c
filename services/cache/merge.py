"""Which readings of a batch matter: pure reduction, with the same orders as the statements of store.py."""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from operator import attrgetter, lt
from typing import TypeAlias

from services.cache.uptime import Slots, slot_bit, slot_bounds, slot_of
from services.kernel.events import OPERATOR_SOURCE, IdentifierType, NodeReading, SourceStatus

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


Groups: TypeAlias = Collection[tuple[tuple[str, str], NodeReading | list[NodeReading]]]
"""Readings by (identifier, source): a list where there are several, in the order in which they came."""


@dataclass(slots=True)
class Reduced:
    """What of a batch can still change a row."""

    types: dict[str, IdentifierType] = field(default_factory=dict)
    stats: dict[tuple[str, str], NodeReading] = field(default_factory=dict)  # by (identifier, source)
    facts: dict[tuple[str, str], Fact] = field(default_factory=dict)  # by (identifier, field)
    slots: dict[tuple[str, date], Slots] = field(default_factory=dict)  # by (identifier, UTC date)
    distinct: int = 0  # readings, each identity counted once


def grouped(readings: Iterable[NodeReading]) -> dict[tuple[str, str], NodeReading | list[NodeReading]]:
    """The readings as Groups."""
    # A node's readings of a batch are many when a backlog is worked off, and one in a large network; either way this
    # loop is the cost.
    groups: dict[tuple[str, str], NodeReading | list[NodeReading]] = {}
    for reading in readings:
        key = (reading.identifier, reading.source)
        held = groups.get(key)
        if held is None:
            groups[key] = reading
        elif isinstance(held, list):
            held.append(reading)
        else:
            groups[key] = [held, reading]
    return groups


def reduce_groups(groups: Groups) -> Reduced:
    """The newest reading of each node and source, the newest fact of each field, and the five-minute slots seen.

    Of two readings with one identity the first stays. Preferences between sources are not applied here: they live in
    tracker_sources, and the statement that merges reads them.
    """
    reduced = Reduced()
    slots = _SlotReducer(reduced.slots)
    for key, group in groups:
        if isinstance(group, list):
            _reduce_group(reduced, slots, key, group)
            continue
        reduced.types.setdefault(key[0], group.identifier_type)
        reduced.distinct += 1
        if group.status is not None:
            reduced.stats[key] = group
            if group.health_probed:
                slots.see(key[0], group.observed_at, group.status == "healthy")
        if _describing(alone := [group]):
            _reduce_facts(reduced.facts, alone)
    return reduced


def _reduce_group(reduced: Reduced, slots: "_SlotReducer", key: tuple[str, str], group: Sequence[NodeReading]) -> None:
    """Note a node's readings from one source."""
    reduced.types.setdefault(key[0], group[0].identifier_type)
    times = [reading.observed_at for reading in group]
    # Mostly each is later than the one before, which saves hashing them, and looking for the newest.
    ordered = all(map(lt, times, times[1:]))
    reduced.distinct += len(group) if ordered else len(set(times))
    if with_status := [reading for reading in group if reading.status is not None]:
        # Of equals the first.
        reduced.stats[key] = with_status[-1] if ordered else max(with_status, key=_OBSERVED_AT)
        if probed := [reading for reading in with_status if reading.health_probed]:
            slots.see_all(key[0], probed, *((times[0], times[-1]) if ordered else (min(times), max(times))))
    if describing := _describing(group):
        _reduce_facts(reduced.facts, describing)


def _describing(readings: Iterable[NodeReading]) -> list[NodeReading]:
    """Those that carry a fact."""
    return [
        reading
        for reading in readings
        if reading.display_name is not None
        or reading.gpu_type is not None
        or reading.region is not None
        or reading.tokens_per_sec is not None
    ]


_OBSERVED_AT = attrgetter("observed_at")
_VALUES = {name: attrgetter(name) for name in FACT_FIELDS}


class _SlotReducer:
    """Notes the slots of readings. Nearly all are in the slot of the one before, whichever node's it was."""

    def __init__(self, slots: dict[tuple[str, date], Slots]) -> None:
        self._slots = slots
        self._move_to(datetime.fromtimestamp(0, UTC))

    def _move_to(self, moment: datetime) -> None:
        self._begin, self._end = slot_bounds(moment)
        self._day, slot = slot_of(moment)
        bit = slot_bit(slot)
        self._healthy, self._unhealthy = Slots(bit, bit), Slots(0, bit)

    def see(self, identifier: str, moment: datetime, healthy: bool) -> None:
        """Note one reading of a node."""
        if not self._begin <= moment < self._end:
            self._move_to(moment)
        key, new = (identifier, self._day), self._healthy if healthy else self._unhealthy
        held = self._slots.setdefault(key, new)
        if held is not new:
            self._slots[key] = held | new

    def see_all(self, identifier: str, readings: Sequence[NodeReading], earliest: datetime, latest: datetime) -> None:
        """Note those of one node, none of them earlier or later than this."""
        if not self._begin <= earliest < self._end:
            self._move_to(earliest)
        if latest < self._end:
            self.see(identifier, earliest, any(reading.status == "healthy" for reading in readings))
            return
        for reading in readings:
            self.see(identifier, reading.observed_at, reading.status == "healthy")


def _reduce_facts(facts: dict[tuple[str, str], Fact], readings: Sequence[NodeReading]) -> None:
    """Note the newest fact of each field that one source's readings of one node carry."""
    for name, value_of in _VALUES.items():
        carrying = [reading for reading in readings if value_of(reading) is not None]
        if not carrying:
            continue
        newest = carrying[0] if len(carrying) == 1 else max(carrying, key=_OBSERVED_AT)
        fact = Fact(str(value_of(newest)), newest.source, newest.observed_at)
        held = facts.get((newest.identifier, name))
        if held is None or fact.rank > held.rank:
            facts[newest.identifier, name] = fact


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
