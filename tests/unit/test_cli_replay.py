"""What `minegnk replay` says and counts, without Kafka and PostgreSQL."""

import io
from collections import Counter
from datetime import UTC, datetime, timedelta, timezone

import pytest
from aiokafka import TopicPartition
from rich.console import Console

from services.cli.progress import ProgressDisplay, duration, progress_line
from services.cli.replay import reached, shortened, summary
from services.cli.replaying import KINDS, Place, Replay, Tally
from services.cli.topic_range import TimeRange, milliseconds
from services.kernel.events import READINGS_TOPIC
from services.kernel.settings import ConsumerSettings, load

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
FIRST, SECOND = TopicPartition("node.readings.v1", 0), TopicPartition("node.readings.v1", 1)


@pytest.mark.parametrize(
    ("moment", "meant"),
    [
        (datetime(1970, 1, 1, tzinfo=UTC), 0),
        (datetime(1970, 1, 1, 1, tzinfo=timezone(timedelta(hours=1))), 0),
        (datetime(1970, 1, 1, 0, 0, 1, tzinfo=UTC), 1000),
        (datetime(1970, 1, 1, 0, 0, 0, 1000, tzinfo=UTC), 1),
        (datetime(1970, 1, 1, 0, 0, 0, 1001, tzinfo=UTC), 2),  # a record of millisecond 1 is before it
        (datetime(1970, 1, 1, 0, 0, 0, 1, tzinfo=UTC), 1),
        (datetime(1969, 12, 31, tzinfo=UTC), 0),  # Kafka gives negative numbers a meaning of their own
        (datetime(9999, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC), 253_402_300_800_000),
    ],
)
def test_a_moment_is_the_first_millisecond_that_is_not_before_it(moment: datetime, meant: int) -> None:
    assert milliseconds(moment) == meant


@pytest.mark.parametrize(
    ("done", "seconds", "line"),
    [
        (0, 0.0, "0 of 12,000 records (0 %)"),
        (0, 9.0, "0 of 12,000 records (0 %)"),
        (3000, 3.0, "3,000 of 12,000 records (25 %), 1,000/s, 9 s left"),
        (11_999, 600.0, "11,999 of 12,000 records (99 %), 20/s, 0 s left"),
        (12_000, 12.0, "12,000 of 12,000 records (100 %), 1,000/s, 0 s left"),
    ],
)
def test_progress_tells_rate_and_time_left(done: int, seconds: float, line: str) -> None:
    assert progress_line(done, 12_000, seconds) == line


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.4, "0 s"), (119, "119 s"), (120, "2 min"), (7199, "120 min"), (7200, "2 h"), (200_000, "2 d")],
)
def test_a_duration_is_in_the_unit_a_person_would_use(seconds: float, text: str) -> None:
    assert duration(seconds) == text


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_a_file_gets_a_line_every_few_seconds() -> None:
    clock, file = Clock(), io.StringIO()
    with ProgressDisplay(100, Console(file=file), clock) as display:
        for second in range(1, 13):
            clock.now = second
            display.show(second * 5, "held up by [a lock]" if second == 10 else "")
    assert file.getvalue().splitlines() == [
        "25 of 100 records (25 %), 5/s, 15 s left",
        "50 of 100 records (50 %), 5/s, 10 s left; held up by [a lock]",
    ]


def test_a_terminal_gets_a_bar_with_the_newest_figures() -> None:
    clock, file = Clock(), io.StringIO()
    with ProgressDisplay(100, Console(file=file, force_terminal=True, width=120), clock) as display:
        clock.now = 1
        display.show(50, "held up by [a lock]")
    assert "━" in file.getvalue()
    assert "50 of 100 records (50 %), 50/s, 1 s left; held up by [a lock]" in file.getvalue()


def test_the_summary_accounts_for_every_record() -> None:
    tally = Tally(10_005, 400, 9_000, 592, Counter(tombstone=2, undecodable=8), ["partition 3, offset 7: no"] * 3, 12)
    assert summary(tally, 2.0, applied=True) == (
        "10,005 records read in 2.0 s (5,002/s): 400 applied, 9,000 stale, 592 duplicate, "
        "10 invalid (8 undecodable, 2 tombstone), 3 refused. 12 records expired before they were read."
    )
    assert summary(Tally(1, 1), 0.0, applied=True) == (
        "1 record read in 0.0 s (0/s): 1 applied, 0 stale, 0 duplicate, 0 invalid, 0 refused."
    )


def test_the_summary_of_a_dry_run_claims_nothing_applied() -> None:
    tally = Tally(100, invalid=Counter(tombstone=2))
    assert summary(tally, 2.0, applied=False) == (
        "100 records read in 2.0 s (50/s): 98 valid, 2 invalid (2 tombstone); nothing was applied."
    )


def half_way() -> Replay:
    found = TimeRange({SECOND: (5, 10), FIRST: (0, 1000)}, {FIRST: NOON, SECOND: NOON + timedelta(hours=1)}, {})
    return Replay(KINDS[READINGS_TOPIC], found, load(ConsumerSettings), None)


def test_a_stopped_replay_says_how_far_each_partition_is_and_from_when_on_the_rest_was_appended() -> None:
    replay = half_way()
    replay.places[FIRST] = Place(700, NOON + timedelta(minutes=30, milliseconds=1))
    assert (replay.done, replay.total) == (700, 1005)
    assert reached(replay) == (
        "Stopped after 700 of 1,005 records (partitions: 0 at offset 700 of 1,000, 1 at offset 5 of 10). "
        "What was done stays; running it again, whole or from there on (--from 2026-03-01T12:30:00.001Z), is safe."
    )


def test_a_partition_that_is_done_does_not_hold_back_where_to_go_on() -> None:
    replay = half_way()
    replay.places[FIRST] = Place(1000, NOON + timedelta(minutes=30))
    assert replay.goes_on_at() == NOON + timedelta(hours=1)
    replay.places[SECOND] = Place(10, NOON + timedelta(hours=2))
    assert replay.goes_on_at() is None


def test_what_was_deleted_before_is_told() -> None:
    found = TimeRange({}, {}, {FIRST: NOON, SECOND: None})
    assert list(shortened(found, 12)) == [
        "1 of 12 partitions begins at 2026-03-01T12:00:00.000Z because older records were deleted.",
        "1 of 12 partitions holds nothing because all its records were deleted.",
    ]
    later = TimeRange({}, {}, {FIRST: NOON, SECOND: NOON + timedelta(hours=1)})
    assert list(shortened(later, 12)) == [
        "2 of 12 partitions begin at 2026-03-01T12:00:00.000Z or later because older records were deleted."
    ]
    assert list(shortened(TimeRange({}, {}, {}), 12)) == []
