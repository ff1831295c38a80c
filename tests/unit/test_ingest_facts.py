from datetime import UTC, datetime, timedelta

from services.ingest.facts import REPEATED_AFTER, PublishedFacts
from services.kernel.events import NodeReading, Status

START = datetime(2026, 3, 1, tzinfo=UTC)


def reading(
    after: timedelta = timedelta(0), *, name: str | None = "host 1", status: Status | None = "healthy", jobs: int = 1
) -> NodeReading:
    return NodeReading(
        identifier="rig-1",
        identifier_type="node_id",
        source="hyperfusion",
        observed_at=START + after,
        status=status,
        jobs_day=jobs,
        display_name=name,
    )


def published(*readings: NodeReading) -> PublishedFacts:
    facts = PublishedFacts()
    facts.note(readings)
    return facts


def test_facts_that_were_not_acknowledged_are_published_with_each_reading() -> None:
    facts = PublishedFacts()
    assert facts.unsaid([reading()]) == [reading()]
    assert facts.unsaid([reading()]) == [reading()]


def test_facts_that_were_acknowledged_are_left_out_and_nothing_else_is() -> None:
    minute = timedelta(minutes=1)
    facts = published(reading())
    assert facts.unsaid([reading(minute, jobs=2)]) == [reading(minute, name=None, jobs=2)]


def test_a_changed_fact_is_published_at_once() -> None:
    renamed = reading(timedelta(minutes=1), name="host one")
    assert published(reading()).unsaid([renamed]) == [renamed]


def test_facts_are_published_again_when_some_time_has_passed() -> None:
    facts = published(reading())
    assert facts.unsaid([reading(REPEATED_AFTER)]) == [reading(REPEATED_AFTER)]
    facts.note([reading(REPEATED_AFTER / 2, name=None)])  # a reading without facts tells of none
    assert facts.unsaid([reading(REPEATED_AFTER)]) == [reading(REPEATED_AFTER)]


def test_a_reading_without_a_status_keeps_its_facts() -> None:
    only_facts = reading(timedelta(minutes=1), status=None)
    assert published(reading()).unsaid([only_facts]) == [only_facts]
