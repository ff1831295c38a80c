"""A soak of seconds, and the proof that a long one would notice what grows."""

import json
from collections.abc import Iterable
from math import inf

import pytest

from services.kernel.wire import OutgoingRecord
from tests.integration.pipeline import Pipeline
from tests.soak.load import NODES, Load
from tests.soak.soak import TOPICS, Plan, soak
from tests.soak.verdict import MIB, course, growth, quarters
from tests.soak.watch import Sample, quantile

MEMORY, DESCRIPTORS, THREADS = range(3)


def samples(*, rss_per_hour: float = 0, descriptors_per_hour: float = 0, threads_per_hour: float = 0) -> list[Sample]:
    """Eighteen minutes of samples, five seconds apart, with two MiB of noise."""
    return [
        Sample(
            at=120 + 5 * number,
            rss=round(90 * MIB + rss_per_hour * number / 720 + (number * 7919 % 5 - 2) * MIB / 2),
            descriptors=round(16 + descriptors_per_hour * number / 720 + number % 3),
            threads=round(2 + threads_per_hour * number / 720),
            cpu=number,
            lag=0,
        )
        for number in range(216)
    ]


def test_what_stays_within_the_noise_is_flat() -> None:
    assert all(check.passed for check in growth("cache", samples(rss_per_hour=10 * MIB)))


@pytest.mark.parametrize(
    ("growing", "failing"),
    [
        (samples(rss_per_hour=16 * 5000 * 3600), MEMORY),  # sixteen bytes of every event
        (samples(rss_per_hour=40 * MIB), MEMORY),
        (samples(descriptors_per_hour=24), DESCRIPTORS),
        (samples(threads_per_hour=24), THREADS),
    ],
)
def test_what_grows_is_noticed(growing: list[Sample], failing: int) -> None:
    checks = growth("cache", growing)
    assert [check.passed for check in checks] == [number != failing for number in range(3)]


def test_the_course_of_a_figure_is_a_line_through_all_samples() -> None:
    memory = course(samples(rss_per_hour=40 * MIB), lambda sample: sample.rss)
    assert memory.slope_per_hour == pytest.approx(40 * MIB, rel=0.05)


def test_samples_that_are_too_few_give_no_verdict() -> None:
    with pytest.raises(ValueError, match="too few"):
        quarters(samples()[:2])


def test_a_quantile_is_of_the_time_between_two_readings() -> None:
    before, after = {0.1: 100.0, 1.0: 100.0, inf: 100.0}, {0.1: 190.0, 1.0: 199.0, inf: 200.0}
    assert quantile(before, after, 0.5) == 0.1
    assert quantile(before, after, 0.99) == 1.0
    assert quantile(before, before, 0.5) is None


@pytest.mark.integration
async def test_a_short_soak_says_what_each_worker_used_and_that_everything_arrived(pipeline: Pipeline) -> None:
    plan = Plan(seconds=8, rate=500, warm_up=1, interval=0.2)
    report = await soak(pipeline, plan)
    assert report.published == {"readings": 3920, "reports": 76, "invalid": 4}
    failed = [check for check in report.checks if not check.passed and "memory" not in check.name]
    assert not failed, report  # memory still grows in the first seconds, as it should
    for name in TOPICS:
        worker = report.workers[name]
        assert len(worker.samples) >= 8
        assert worker.memory.start > 20 * MIB
        assert worker.descriptors.end > 3
        assert worker.latency_p50 is not None
        assert f"\n{name} " in str(report)
    assert set(json.loads(report.to_json())["workers"]) == set(TOPICS)


class Nobody:
    """Takes records and loses them."""

    async def send(self, records: Iterable[OutgoingRecord]) -> None:
        for _ in records:
            pass


@pytest.mark.integration
async def test_a_soak_whose_events_were_lost_names_the_nodes(pipeline: Pipeline) -> None:
    await pipeline.empty_tables()
    load = Load()
    await load.publish(Nobody(), rate=100_000, seconds=0.02)
    wrong = await load.wrong_rows(pipeline)
    assert len(wrong) == NODES + 38 + 38  # readings of all nodes, ledgers and totals of those with reports
    assert "instead of" in wrong[0]
