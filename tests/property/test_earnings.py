"""Reports of earnings, delivered in every way, end in the reference model's rows."""

import pytest
from hypothesis.stateful import initialize, rule

from services.kernel.events import EarningsReport, SourceStatus
from tests.property.conftest import TIMEOUT_SECONDS, Explore
from tests.property.deliveries import Deliveries, Partition, turns
from tests.property.generated import of_one_node, reports_of, some_reports, some_statuses
from tests.property.model import Tables, earnings_tables, node_tables, source_tables

pytestmark = [pytest.mark.integration, pytest.mark.timeout(TIMEOUT_SECONDS)]


class Earnings(Deliveries):
    """The earnings service. The order of sources changes at any moment."""

    follows_order = True

    def partitions(self) -> list[Partition]:
        return self.statuses + self.reports

    def expected(self) -> Tables:
        reports = self.applied(EarningsReport)
        of_sources = source_tables(self.applied(SourceStatus))
        order = {source: place for source, (_, place, *_) in of_sources["sources"].items()}
        return earnings_tables(reports, order) | of_sources | node_tables(reports)

    @initialize(events=some_reports)
    def begin(self, events: list[EarningsReport]) -> None:
        self.publish_reports(events)

    @rule(events=some_reports)
    def publish_reports(self, events: list[EarningsReport]) -> None:
        for event in events:
            self.publish(event)

    @rule(events=of_one_node(reports_of), turns=turns)
    def race_with_reports(self, events: list[EarningsReport], turns: list[int]) -> None:
        self.race(events, turns)

    @rule(events=some_statuses)
    def publish_orders(self, events: list[SourceStatus]) -> None:
        for event in events:
            self.publish(event)


def test_reports_end_in_the_same_rows_however_they_are_delivered(explore: Explore) -> None:
    explore(Earnings)
