"""Reports of earnings, delivered in every way, end in the reference model's rows."""

from collections.abc import Mapping
from itertools import zip_longest

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import initialize, rule
from msgspec.structs import replace

from services.cache.store import apply_source_status
from services.earnings.source_order import follow_order
from services.earnings.store import apply_reports
from services.kernel.events import EarningsReport, SourceStatus
from tests.property.bench import Bench
from tests.property.conftest import TIMEOUT_SECONDS, Explore
from tests.property.deliveries import ALL, Deliveries, Partition, turns
from tests.property.generated import (
    PLACES,
    SOURCES,
    START,
    contradictions,
    racing_reports,
    some_reports,
    some_statuses,
    status_of,
)
from tests.property.model import ORDER_OF_UNKNOWN, Tables, earnings_tables, node_tables, source_tables

pytestmark = [pytest.mark.integration, pytest.mark.timeout(TIMEOUT_SECONDS)]

_changes = st.tuples(st.sampled_from(SOURCES), st.sampled_from(PLACES))


class Earnings(Deliveries):
    """The earnings service. The order of sources is known before the first report, and stays."""

    follows_order = True
    order: Mapping[str, int] = {}

    def partitions(self) -> list[Partition]:
        return self.statuses + self.reports

    def expected(self) -> Tables:
        reports = self.applied(EarningsReport)
        of_sources = source_tables(self.applied(SourceStatus))
        order = {source: place for source, (_, place, *_) in of_sources["sources"].items()}
        return earnings_tables(reports, order) | of_sources | node_tables(reports)

    @initialize(
        order=st.fixed_dictionaries({}, optional={source: st.sampled_from(PLACES) for source in SOURCES}),
        events=some_reports,
    )
    def configure(self, order: dict[str, int], events: list[EarningsReport]) -> None:
        """What a file of sources says; who is not in it comes last."""
        self.order = order
        for source, place in order.items():
            self.publish(status_of(source, -1, earnings_order=place))
        self.do(self.deliver_alone(0, self.statuses[0], 0, ALL))
        self.look()
        self.publish_reports(events)

    @rule(events=some_reports)
    def publish_reports(self, events: list[EarningsReport]) -> None:
        for event in events:
            self.publish(event)

    @rule(events=racing_reports, turns=turns)
    def race_with_reports(self, events: list[EarningsReport], turns: list[int]) -> None:
        self.race(events, turns)

    @rule(events=some_statuses)
    def publish_statuses(self, events: list[SourceStatus]) -> None:
        for event in events:
            self.publish(replace(event, earnings_order=self.order.get(event.source, ORDER_OF_UNKNOWN)))


class ChangingOrder(Earnings):
    """The order of sources changes at any moment; the service follows it."""

    changes = 0

    @rule(events=contradictions, changes=st.lists(_changes, min_size=2, max_size=4))
    def change_order(self, events: list[EarningsReport], changes: list[tuple[str, int]]) -> None:
        """The order changes before, between and after reports, perhaps back, and only then is followed."""
        for change, event in zip_longest(changes, events):
            if change is not None:
                self._alone(*self._tell(*change))
            if event is not None:
                self._alone(*self.publish(event))
        self.look()

    @rule(events=contradictions, change=_changes, turns=turns)
    def race_with_order(self, events: list[EarningsReport], change: tuple[str, int], turns: list[int]) -> None:
        """A report is written while the order changes, and while that is followed."""
        first, second = events
        self._alone(*self.publish(first))
        told = [self.publish(second), self._tell(*change)]
        runs = [self.delivery(worker, partition, offset, 1) for worker, (partition, offset) in enumerate(told)]
        self.do(self.run_all([*runs, self.bench.task("earnings", 2, follow_order)], turns))
        self.look()

    def _alone(self, partition: Partition, offset: int) -> None:
        self.do(self.run_all([self.delivery(0, partition, offset, 1)], [0]))

    def _tell(self, source: str, place: int) -> tuple[Partition, int]:
        self.changes += 1
        self.order = {**self.order, source: place}
        return self.publish(status_of(source, self.changes, earnings_order=place))


def test_reports_end_in_the_same_rows_however_they_are_delivered(explore: Explore) -> None:
    explore(Earnings)


def test_history_follows_the_order_of_sources_whenever_it_changes(explore: Explore) -> None:
    explore(ChangingOrder, share=0.5)


# Two sources contradict each other about one epoch of one node; the first of them comes first.
_FIRST, _SECOND = (
    EarningsReport(
        identifier="gonka1alice",
        identifier_type="wallet",
        source=source,
        kind="epoch",
        period=7,
        amount_ngonka=amount * 10**9,
        settled_at=START,
        final=True,
        observed_at=START,
    )
    for source, amount in (("first", 1), ("second", 2))
)


def _order(first: int, second: int, day: int) -> list[SourceStatus]:
    return [status_of("first", day, earnings_order=first), status_of("second", day, earnings_order=second)]


async def _one_report_in_order(bench: Bench) -> None:
    await bench.empty()
    await bench.alone("cache", lambda database: apply_source_status(database, _order(0, 10, day=0)))
    await bench.alone("earnings", lambda database: apply_reports(database, [_FIRST]))
    await bench.alone("earnings", follow_order)


async def _source_of_history(bench: Bench) -> list[str]:
    tables = await bench.tables()
    return [source for _, source in tables["history"].values()]


def test_a_changed_order_takes_along_a_report_that_is_being_written(bench: Bench) -> None:
    async def scenario(statements: int) -> list[str]:
        await _one_report_in_order(bench)
        # The report's transaction stops after so many statements, until the order has changed and was followed.
        await bench.take_turns(
            [
                bench.task("earnings", 0, lambda database: apply_reports(database, [_SECOND])),
                bench.task("cache", 1, lambda database: apply_source_status(database, _order(10, 0, day=1))),
                bench.task("earnings", 2, follow_order),
            ],
            [0] * statements + [1] * 100,
        )
        await bench.alone("earnings", follow_order)
        return await _source_of_history(bench)

    ends = {statements: bench.run(scenario(statements)) for statements in range(24)}
    assert [statements for statements, end in ends.items() if end != ["second"]] == []


def test_an_order_that_changed_back_before_it_was_followed_leaves_nothing_behind(bench: Bench) -> None:
    async def scenario() -> list[str]:
        await _one_report_in_order(bench)
        await bench.alone("cache", lambda database: apply_source_status(database, _order(10, 0, day=1)))
        await bench.alone("earnings", lambda database: apply_reports(database, [_SECOND]))
        await bench.alone("cache", lambda database: apply_source_status(database, _order(0, 10, day=2)))
        await bench.alone("earnings", follow_order)
        return await _source_of_history(bench)

    assert bench.run(scenario()) == ["first"]
