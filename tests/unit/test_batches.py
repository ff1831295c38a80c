"""The batch that waits: what is added to it, and when it is large."""

import pytest
from aiokafka import TopicPartition

from services.kernel.batches import Batch, Run, Waiting, offsets
from services.kernel.events import NodeReading
from tests.unit.test_cache_merge import reading

PARTITION = TopicPartition("t", 0)


def batch(records: int, *, offset: int = 0, ownership: int = 1, oldest_ms: int = 1_000) -> Batch[NodeReading]:
    run = Run(PARTITION, [reading()] * records, offsets(range(offset, offset + records)))
    return Batch(1, ownership, oldest_ms, {PARTITION: offset + records}, [run])


def test_what_comes_is_added_until_it_is_taken() -> None:
    waiting: Waiting[NodeReading] = Waiting(10)
    assert not waiting
    assert waiting.room.is_set()
    assert waiting.put(batch(3))
    assert waiting.put(batch(7, offset=3, oldest_ms=500))
    assert not waiting.room.is_set()
    taken = waiting.take()
    assert (len(taken), taken.offsets, taken.oldest_ms) == (10, {PARTITION: 10}, 500)
    assert not waiting
    assert waiting.room.is_set()
    with pytest.raises(LookupError):
        waiting.take()


def test_every_event_is_found_again_where_its_record_stands() -> None:
    other = TopicPartition("t", 1)
    found = batch(2, offset=7)
    found.extend(Batch(2, 1, 1_000, {other: 9}, [Run(other, [reading()] * 2, offsets([4, 8]))]))
    assert [found.offset_of(place) for place in range(4)] == [(PARTITION, 7), (PARTITION, 8), (other, 4), (other, 8)]
    with pytest.raises(IndexError):
        found.offset_of(4)


def test_what_does_not_fit_or_has_another_owner_is_not_added() -> None:
    waiting: Waiting[NodeReading] = Waiting(10)
    assert waiting.put(batch(4))
    assert not waiting.put(batch(7))
    assert not waiting.put(batch(1, ownership=2))
    assert waiting.put(batch(6)), "what fits still does"
    assert len(waiting.take()) == 10
    assert waiting.put(batch(11)), "a batch of its own, however large"


def test_it_is_large_when_half_full_or_when_something_did_not_fit() -> None:
    waiting: Waiting[NodeReading] = Waiting(10)
    large = [waiting.is_large]
    for records in (4, 1):
        waiting.put(batch(records))
        large.append(waiting.is_large)
    waiting.take()
    for records in (4, 7):
        waiting.put(batch(records))
        large.append(waiting.is_large)
    waiting.take()
    waiting.put(batch(4))
    large.append(waiting.is_large)
    assert large == [False, False, True, False, True, False]


def test_whoever_takes_batches_is_told_when_one_waits_is_large_or_did_not_fit() -> None:
    waiting: Waiting[NodeReading] = Waiting(10)
    told = []
    for records in (2, 2, 2, 7):
        waiting.put(batch(records))
        told.append(waiting.changed.is_set())
        waiting.changed.clear()
    assert told == [True, False, True, True]
