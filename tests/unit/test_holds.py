"""The limit on invalid records: counted by the broker's time, carried beside the committed offset."""

from datetime import timedelta

import pytest
from aiokafka import ConsumerRecord, TopicPartition

from services.kernel.dead_letters import DeadLetter
from services.kernel.errors import Reason
from services.kernel.holds import Hold, InvalidLimit, InvalidWindow, hold_of

MINUTE_MS = 60_000
START_MS = 1_900_000_000_000
HOLD = Hold(17, "undecodable", "no JSON")
ONE, OTHER = TopicPartition("readings", 1), TopicPartition("readings", 2)


def window(limit: int = 3) -> InvalidWindow:
    return InvalidWindow(limit, timedelta(minutes=10))


def letter(partition: TopicPartition, offset: int, timestamp_ms: int = START_MS) -> DeadLetter:
    record = ConsumerRecord(partition.topic, partition.partition, offset, timestamp_ms, 1, None, b"", None, -1, 0, ())
    return DeadLetter(record, Reason.UNDECODABLE, "no JSON")


def limit_of(records: int, *partitions: TopicPartition) -> InvalidLimit:
    limit = InvalidLimit(records, timedelta(minutes=10))
    for partition in partitions:
        limit.recall(partition, "")
    return limit


def test_the_limit_is_admitted_and_one_more_is_not() -> None:
    held = window(3)
    assert [held.admit(START_MS + second * 1000) for second in range(4)] == [True, True, True, False]


def test_what_is_older_than_the_window_does_not_count() -> None:
    held = window(3)
    assert [held.admit(START_MS + minute * 4 * MINUTE_MS) for minute in range(20)] == [True] * 20
    assert not held.admit(START_MS + 19 * 4 * MINUTE_MS), "three in the last ten minutes"


def test_a_refused_record_is_not_counted() -> None:
    held = window(1)
    assert held.admit(START_MS)
    assert not any(held.admit(START_MS + second * 1000) for second in range(590))
    assert held.admit(START_MS + 10 * MINUTE_MS)


@pytest.mark.parametrize("hold", [None, HOLD])
def test_the_count_survives_in_the_metadata_of_an_offset(hold: Hold | None) -> None:
    before = window(5)
    for second in (0, 3, 400, 401):
        assert before.admit(START_MS + second * 1000)
    after = window(5)
    after.recall(before.note(hold))
    assert after.counts == before.counts
    assert hold_of(before.note(hold)) == hold
    assert after.admit(START_MS + 402_000)
    assert not after.admit(START_MS + 402_000)


def test_the_metadata_fits_the_brokers_limit_whatever_was_counted() -> None:
    full = InvalidWindow(10**6, timedelta(minutes=10))
    for second in range(600):
        for _ in range(100):
            full.admit(START_MS + second * 1000)
    assert len(full.note(HOLD._replace(error="x" * 5000)).encode()) < 4096


@pytest.mark.parametrize("note", ["", "somebody else's", "{}", '{"invalid": {"x": 1}}', "[]", '{"invalid": {"-1": 2}}'])
def test_metadata_of_somebody_else_counts_for_nothing(note: str) -> None:
    held = window()
    held.recall(note)
    assert held.counts == {}
    assert hold_of(note) is None


def test_without_invalid_records_an_offset_has_no_metadata() -> None:
    assert window().note() == ""


def test_each_partition_is_cut_at_its_own_first_letter_above_the_limit() -> None:
    letters = [letter(ONE, offset) for offset in (9, 5, 7, 8)] + [letter(OTHER, offset) for offset in (1, 2)]
    admitted, over = limit_of(2, ONE, OTHER).judge(letters)
    assert [(dead.record.partition, dead.record.offset) for dead in admitted] == [(2, 1), (2, 2), (1, 5), (1, 7)]
    assert over == {ONE: Hold(8, "undecodable", "no JSON")}


def test_an_operators_word_admits_up_to_its_offset_and_the_count_begins_anew_behind_it() -> None:
    limit = limit_of(2, ONE)
    assert limit.judge([letter(ONE, offset) for offset in range(4)])[1][ONE].offset == 2
    limit.go_on(ONE, 100)
    admitted, over = limit.judge([letter(ONE, offset) for offset in range(2, 104)])
    assert len(admitted) == 100
    assert over[ONE].offset == 102, "two more behind 100"


def test_a_limit_of_zero_is_none() -> None:
    limit = InvalidLimit(0, timedelta(minutes=10))
    assert limit.unknown([ONE]) == []
    admitted, over = limit.judge([letter(ONE, offset) for offset in range(1000)])
    assert (len(admitted), over) == (1000, {})


def test_a_partition_that_came_back_has_to_be_recalled() -> None:
    limit = limit_of(2, ONE, OTHER)
    limit.forget(ONE)
    assert limit.unknown([ONE, OTHER]) == [ONE]
