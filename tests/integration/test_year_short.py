"""A month of the simulated year; `make year` lives through all of it."""

from datetime import timedelta
from pathlib import Path

import pytest

from tests.integration.conftest import NewDatabase
from tests.integration.pipeline import Pipeline
from tests.year.report import report
from tests.year.year import Plan, Year, deliver_in_disorder

pytestmark = [pytest.mark.integration, pytest.mark.timeout(300)]


async def test_every_ngonka_of_a_faulty_month_arrives_on_its_date_and_again_in_any_order(
    pipeline: Pipeline, new_database: NewDatabase, tmp_path: Path
) -> None:
    plan = Plan(epochs=24, hosts=24, poll_interval=timedelta(hours=8), seed=3, kills=2, limit=120)
    year = Year(plan, pipeline)
    await year.live()
    second = Pipeline(new_database(), pipeline.kafka, tmp_path)
    try:
        await deliver_in_disorder(plan, pipeline, second, tmp_path / "reports", year.outcome)
    finally:
        second.stop_all()
    outcome = year.outcome
    print(report(outcome))  # noqa: T201 - shown when it fails
    assert outcome.differences == []
    assert outcome.estimated_wrongly > 0
    assert outcome.restated > 0
    assert len(outcome.faults) > 8
