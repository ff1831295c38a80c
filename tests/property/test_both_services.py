"""Readings and reports of the same nodes at the same time: each service keeps to its columns, and to one lock order."""

import pytest
from hypothesis.stateful import initialize, rule

from services.kernel.events import EarningsReport, NodeReading
from tests.property.conftest import TIMEOUT_SECONDS, Explore
from tests.property.deliveries import Deliveries, Partition
from tests.property.generated import some_readings, some_reports
from tests.property.model import Tables, cache_tables, earnings_tables, node_tables

pytestmark = [pytest.mark.integration, pytest.mark.timeout(TIMEOUT_SECONDS)]


class BothServices(Deliveries):
    """Both services, of whose sources nothing is known."""

    def partitions(self) -> list[Partition]:
        return self.readings + self.reports

    def expected(self) -> Tables:
        readings, reports = self.applied(NodeReading), self.applied(EarningsReport)
        return cache_tables(readings, {}) | earnings_tables(reports, {}) | node_tables([*readings, *reports])

    @initialize(readings=some_readings, reports=some_reports)
    def begin(self, readings: list[NodeReading], reports: list[EarningsReport]) -> None:
        self.publish_both(readings, reports)

    @rule(readings=some_readings, reports=some_reports)
    def publish_both(self, readings: list[NodeReading], reports: list[EarningsReport]) -> None:
        for reading in readings:
            self.publish(reading)
        for report in reports:
            self.publish(report)


def test_readings_and_reports_of_the_same_nodes_do_not_disturb_each_other(explore: Explore) -> None:
    explore(BothServices, share=0.4)
