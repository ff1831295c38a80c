"""What the batch consumer promises when something fails, each promise by itself, on a real Kafka and PostgreSQL."""

import asyncio
import math
import time
from collections.abc import AsyncIterator, Iterable, Sequence
from datetime import timedelta
from functools import partial
from typing import Any

import asyncpg
import pytest
from aiokafka import ConsumerRecord, TopicPartition
from aiokafka.admin import RecordsToDelete
from aiokafka.errors import KafkaConnectionError, OffsetOutOfRangeError

from services.cache.store import apply_readings
from services.kernel import consumer as kernel_consumer
from services.kernel.database import Database, OwnConnection, connect_arguments
from services.kernel.events import NodeReading
from services.kernel.halving import Applied
from services.kernel.settings import DatabaseSettings, KafkaSettings
from services.kernel.spans import record_at
from services.kernel.wire import OutgoingRecord, encode
from tests.integration.conftest import NewDatabase
from tests.integration.pipeline import until
from tests.integration.streams import PARTITIONS, Handled, Stream, new_stream, numbers_of, running

pytestmark = pytest.mark.integration


@pytest.fixture
async def stream(kafka: KafkaSettings) -> AsyncIterator[Stream]:
    async with new_stream(kafka) as stream:
        yield stream


@pytest.fixture
def settings(new_database: NewDatabase) -> DatabaseSettings:
    return new_database()


@pytest.fixture
async def admin(settings: DatabaseSettings) -> AsyncIterator[OwnConnection]:
    connection = await asyncpg.connect(**connect_arguments(settings))
    yield connection
    await connection.close()


class FailingSender:
    """Takes dead letters only when it is told to, and remembers how often it was asked."""

    def __init__(self) -> None:
        self.asked = 0
        self.works = False

    async def send(self, records: Iterable[OutgoingRecord]) -> None:
        self.asked += 1
        if not self.works:
            raise KafkaConnectionError("the broker is away")


async def test_nothing_is_committed_before_the_dead_letters_are_confirmed(stream: Stream) -> None:
    await stream.publish(range(3), partition=0)
    await stream.publish_invalid(1, partition=0)
    sender = FailingSender()
    async with running(stream.consumer(Handled(), dead_letters=sender)):

        async def decided() -> bool:
            return sender.asked >= 3 or await stream.committed() > 0

        await until(decided, "dead letters asked for thrice, or a commit")
        assert await stream.committed() == 0
        sender.works = True
        await stream.until_committed(4)


async def test_the_group_keeps_its_member_through_an_outage_longer_than_the_poll_interval(stream: Stream) -> None:
    """Kafka's own word for it: one that left could still commit into the empty group, and would look healthy."""
    # First offsets for every partition: aiokafka forgets about the interval once a poll has raised that there are none.
    for partition in range(PARTITIONS):
        await stream.publish([100 + partition], partition=partition)
    async with running(stream.consumer(Handled())):
        await stream.until_committed(PARTITIONS)
    max_poll_interval = 2.0
    handled, away = Handled(), asyncio.Event()

    async def handle(readings: Sequence[NodeReading]) -> Applied:
        away.set()
        if time.monotonic() < ends:
            raise ConnectionError("the database is away")
        return await handled(readings)

    ends = math.inf
    await stream.publish(range(60), partition=2)
    async with running(stream.consumer(handle, max_poll_interval=max_poll_interval)):
        await asyncio.wait_for(away.wait(), 20)
        ends = time.monotonic() + 2.5 * max_poll_interval
        states: set[str] = set()

        async def over() -> bool:
            (described,) = await stream.admin.describe_consumer_groups([stream.group])
            states.update(state for _, _, state, *_ in described.groups)
            return states != {"Stable"} or await handled.has(range(60))

        await until(over, "the outage is over")
    assert states == {"Stable"}
    assert sorted(handled.numbers) == list(range(60))


async def test_a_batch_that_is_handled_before_the_one_ahead_of_it_is_committed_after_it(stream: Stream) -> None:
    """Also when that one fails for good: then neither is."""
    go_on, second = asyncio.Event(), Handled()

    async def handle(readings: Sequence[NodeReading]) -> Applied:
        if 0 not in numbers_of(readings):
            return await second(readings)
        await go_on.wait()
        raise KeyError("nobody foresaw this")

    await stream.publish(range(20), partition=0)
    consumer = stream.consumer(handle)

    async def crashed() -> bool:
        return consumer.crashed

    async def read_ahead() -> bool:
        return consumer.polled() == 30

    async with running(consumer):
        await until(lambda: second.has(range(10, 20)), "the second batch is handled")
        await stream.publish(range(20, 30), partition=0)
        await until(read_ahead, "a third one waits")
        assert await stream.committed() == 0
        assert sorted(second.numbers) == list(range(10, 20)), "it is not begun"
        go_on.set()
        await until(crashed, "the consumer crashed")
    assert isinstance(consumer.crash_reason, KeyError)
    assert await stream.committed() == 0


async def test_a_batch_that_a_stop_cuts_off_is_not_committed(stream: Stream, monkeypatch: pytest.MonkeyPatch) -> None:
    began, cut_off = asyncio.Event(), asyncio.Event()

    async def handle(_: Sequence[NodeReading]) -> Applied:
        began.set()
        try:
            await asyncio.Event().wait()  # a database that does not answer any more
        except asyncio.CancelledError:
            cut_off.set()
            raise
        raise AssertionError("it waits for ever")

    monkeypatch.setattr(kernel_consumer, "_STOP_SECONDS", 0.3)
    await stream.publish(range(10), partition=0)
    async with running(stream.consumer(handle)):
        await asyncio.wait_for(began.wait(), 20)
    assert cut_off.is_set()
    assert await stream.committed() == 0


async def test_what_was_read_ahead_of_a_revocation_is_not_applied_after_it(stream: Stream) -> None:
    """Whoever has the partition then reads it again from the committed offset, the batches in hand included."""
    go_on = asyncio.Event()
    begun = 0
    first, second = Handled(), Handled()

    async def handle(readings: Sequence[NodeReading]) -> Applied:
        nonlocal begun
        begun += 1
        await go_on.wait()
        return await first(readings)

    async def two_in_hand() -> bool:
        return begun == 2

    numbers = list(range(60))
    await stream.publish(numbers, partition=1)
    one, other = stream.consumer(handle), stream.consumer(second)
    async with running(one):
        await until(two_in_hand, "two batches in hand")
        async with running(other):

            async def shared() -> bool:
                return bool(one.owned) and bool(other.owned)

            await until(shared, "the partitions are shared")
            go_on.set()

            async def committed() -> bool:
                return await stream.offset(1) == len(numbers)

            await until(committed, "all committed")
    in_hand, later = first.numbers[:20], first.numbers[20:]
    assert sorted(in_hand) == numbers[:20]
    assert (later, second.numbers) in [(numbers, []), ([], numbers)]


async def test_a_good_reading_behind_a_newer_one_that_is_refused_is_applied(
    stream: Stream, settings: DatabaseSettings, admin: OwnConnection
) -> None:
    """The batch is halved, not what its reduction leaves: there the refused one has hidden the good one."""
    await admin.execute("ALTER TABLE node_stats_cache ADD CONSTRAINT refused CHECK (jobs_day <> 666)")
    readings = [
        NodeReading(
            identifier="gonka1alice",
            identifier_type="wallet",
            source="hyperfusion",
            observed_at=stream.start + timedelta(seconds=seconds),
            status="healthy",
            jobs_day=jobs_day,
        )
        for seconds, jobs_day in ((1, 7), (2, 666))
    ]
    await stream.publisher.send([encode(each)._replace(topic=stream.topic) for each in readings], partition=0)
    database = Database(settings, application="cache", role="minegnk_cache")
    async with database:
        async with running(stream.consumer(partial(apply_readings, database))):
            await stream.until_committed(2)
        assert await admin.fetchval("SELECT jobs_day FROM node_stats_cache") == 7
        (letter,) = await stream.dead_letters()
        assert dict(letter.headers)["minegnk_dlq_offset"] == b"1"


class Refusing(Handled):
    """Handles readings like a database that refuses number 1."""

    async def __call__(self, readings: Sequence[NodeReading]) -> Applied:
        if 1 in numbers_of(readings):
            raise asyncpg.CheckViolationError("number 1 is refused")
        return await super().__call__(readings)


async def test_a_refused_record_is_read_again_until_kafka_gives_it(
    stream: Stream, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = 0

    async def away_at_first(*where: Any) -> ConsumerRecord | None:
        nonlocal asked
        asked += 1
        if asked < 3:
            raise KafkaConnectionError("the broker is away")
        return await record_at(*where)

    monkeypatch.setattr(kernel_consumer, "record_at", away_at_first)
    await stream.publish(range(3), partition=0)
    handled = Refusing()
    async with running(stream.consumer(handled)):
        await stream.until_committed(3)
    assert (handled.numbers, asked) == ([0, 2], 3)
    (letter,) = await stream.dead_letters()
    assert letter.value == stream.reading(1).value


async def test_a_refused_record_that_its_topic_has_deleted_is_a_letter_that_says_so(stream: Stream) -> None:
    class Late(Refusing):
        async def __call__(self, readings: Sequence[NodeReading]) -> Applied:
            await stream.admin.delete_records({TopicPartition(stream.topic, 0): RecordsToDelete(before_offset=3)})
            return await super().__call__(readings)

    await stream.publish(range(3), partition=0)
    handled = Late()
    async with running(stream.consumer(handled)):
        await stream.until_committed(3)
    assert handled.numbers == [0, 2]
    (letter,) = await stream.dead_letters()
    added = {name.removeprefix("minegnk_dlq_"): value for name, value in letter.headers}
    assert letter.value is None
    assert (added["reason"], added["offset"], added["value"]) == (b"refused_by_database", b"1", b"omitted")
    assert added["error"].endswith(b"(the topic has deleted the record since it was read)")


async def test_records_that_were_deleted_before_they_were_handled_stop_the_consumer(stream: Stream) -> None:
    handled = Handled()
    await stream.publish(range(10), partition=0)
    async with running(stream.consumer(handled)):
        await stream.until_committed(10)
    await stream.publish(range(10, 40), partition=0)
    await stream.admin.delete_records({TopicPartition(stream.topic, 0): RecordsToDelete(before_offset=30)})
    consumer = stream.consumer(handled)

    async def ended() -> bool:
        return consumer.crashed or len(handled.numbers) > 10

    async with running(consumer):
        await until(ended, "it stops, or goes on behind the gap")
        assert isinstance(consumer.crash_reason, OffsetOutOfRangeError)
    assert handled.numbers == list(range(10))
    assert await stream.committed() == 10
