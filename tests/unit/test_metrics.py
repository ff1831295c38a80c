"""The reference of the metrics is what the code registers, and the names keep to Prometheus' conventions."""

import re

import pytest

from services.cli.metrics import REFERENCE, Metric, every_metric, with_table
from services.kernel.app import DEFAULT_METRICS_PORTS
from tests.e2e.engine import ROOT

METRICS = every_metric()
GROWS = {"node", "identifier", "key", "path", "user", "address"}
"""Labels of which there would be ever more."""


def test_the_reference_is_what_the_code_registers() -> None:
    reference = (ROOT / REFERENCE).read_text()
    assert with_table(reference) == reference, "run make metrics"


def test_every_service_has_metrics() -> None:
    assert {service for metric in METRICS for service in metric.services} == set(DEFAULT_METRICS_PORTS)


@pytest.mark.parametrize("metric", METRICS, ids=lambda metric: metric.name)
def test_a_name_keeps_to_the_conventions(metric: Metric) -> None:
    assert re.fullmatch(r"minegnk(_[a-z]+)+", metric.name)
    assert not re.search(r"_(ms|millis\w*|minutes|hours|days|kb|mb|percent)(_|$)", metric.name), "base units"
    assert (metric.type == "counter") == metric.name.endswith("_total")
    assert not GROWS & set(metric.labels)
    assert metric.meaning.endswith(".")
