"""Readings and statuses of sources, delivered in every way, end in the reference model's rows."""

from collections.abc import Mapping
from datetime import timedelta

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import initialize, rule
from msgspec.structs import replace

from services.kernel.events import IdentifierType, NodeReading, SourceStatus
from tests.property.conftest import TIMEOUT_SECONDS, Explore
from tests.property.deliveries import ALL, Deliveries, Partition, turns
from tests.property.generated import (
    FORMLESS,
    HEAD_STARTS_SECONDS,
    NODES,
    SOURCES,
    START,
    of_one_node,
    readings_of,
    some_readings,
    some_statuses,
    status_of,
)
from tests.property.model import Tables, cache_tables, node_tables, source_tables

pytestmark = [pytest.mark.integration, pytest.mark.timeout(TIMEOUT_SECONDS)]

_types: st.SearchStrategy[IdentifierType] = st.sampled_from(["wallet", "node_id", "operator", "validator"])


class Readings(Deliveries):
    """The cache service. Preferences are known before the first reading, and stay."""

    head_starts: Mapping[str, int] = {}

    def partitions(self) -> list[Partition]:
        return self.statuses + self.readings

    def expected(self) -> Tables:
        readings, statuses = self.applied(NodeReading), self.applied(SourceStatus)
        return cache_tables(readings, self.head_starts) | source_tables(statuses) | node_tables(readings)

    @initialize(
        head_starts=st.fixed_dictionaries({source: st.sampled_from(HEAD_STARTS_SECONDS) for source in SOURCES}),
        in_order=st.booleans(),
        events=some_readings,
    )
    def configure(self, head_starts: dict[str, int], in_order: bool, events: list[NodeReading]) -> None:
        """What a file of sources says, and whether producers may contradict themselves."""
        self.head_starts, self.in_order = head_starts, in_order
        for source, seconds in head_starts.items():
            if seconds:
                self.publish(status_of(source, -1, preference_seconds=seconds))
        self.do(self.deliver_alone(0, self.statuses[0], 0, ALL))
        self.publish_readings(events, "wallet")

    @rule(events=some_readings, stranger=_types)
    def publish_readings(self, events: list[NodeReading], stranger: IdentifierType) -> None:
        for event in events:
            if self.in_order and event.identifier == FORMLESS:
                self.publish(replace(event, identifier_type=stranger))
            else:
                self.publish(event)

    @rule(events=of_one_node(readings_of), turns=turns)
    def race_with_readings(self, events: list[NodeReading], turns: list[int]) -> None:
        self.race(events, turns)

    @rule(events=some_statuses)
    def publish_statuses(self, events: list[SourceStatus]) -> None:
        for event in events:
            self.publish(replace(event, preference_seconds=self.head_starts[event.source]))


class ChangingPreferences(Readings):
    """Preferences change at any moment. What was decided by an old one stays until the sources are read again."""

    changes = 0
    rounds = 0

    @rule(source=st.sampled_from(SOURCES), seconds=st.sampled_from(HEAD_STARTS_SECONDS))
    def change_preference(self, source: str, seconds: int) -> None:
        self.changes += 1
        self.head_starts = {**self.head_starts, source: seconds}
        self.publish(status_of(source, self.changes, preference_seconds=seconds))

    def look(self) -> None:
        """Until then what is there depends on the past."""

    def before_settling(self) -> None:
        """Each source that knows a node reads it once more."""
        self.rounds += 1
        published = [event for partition in self.readings for event in partition.log]
        known = {(e.identifier, e.source) for e in published if isinstance(e, NodeReading) and e.status is not None}
        for number, (node, source) in enumerate(sorted(known)):
            self.publish(
                NodeReading(
                    identifier=node,
                    identifier_type=NODES[node],
                    source=source,
                    observed_at=START + timedelta(days=self.rounds, minutes=number * 7 % 5),
                    status="healthy",
                    jobs_day=number,
                )
            )


def test_readings_end_in_the_same_rows_however_they_are_delivered(explore: Explore) -> None:
    explore(Readings)


def test_after_preferences_changed_the_next_readings_decide_by_the_new_ones(explore: Explore) -> None:
    explore(ChangingPreferences, share=0.3)
