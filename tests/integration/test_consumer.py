"""The batch consumer on a real Kafka: what it commits, what it repeats, and what it never does."""

import asyncio
import itertools
import os
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta

import pytest
from aiokafka import ConsumerRecord, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from prometheus_client import CollectorRegistry

from services.kernel.consumer import BatchConsumer
from services.kernel.events import NodeReading
from services.kernel.halving import Applied
from services.kernel.publisher import KafkaPublisher
from services.kernel.settings import ConsumerSettings, KafkaSettings
from services.kernel.telemetry import ConsumerMetrics
from services.kernel.topics import Topic, dead_letter_topic
from services.kernel.wire import decoder_for, encode
from tests.integration.pipeline import records_of, until

pytestmark = pytest.mark.integration

PARTITIONS = 4

_numbers = itertools.count(1)

Handle = Callable[[Sequence[NodeReading]], Awaitable[Applied]]


class Observed(BatchConsumer[NodeReading]):
    """A batch consumer that notes its assignments and revocations."""

    owned: frozenset[int] = frozenset()
    revocations = 0

    async def on_partitions_revoked(self, revoked: set[TopicPartition]) -> None:
        self.owned = frozenset()
        self.revocations += bool(revoked)
        await super().on_partitions_revoked(revoked)

    async def on_partitions_assigned(self, assigned: set[TopicPartition]) -> None:
        await super().on_partitions_assigned(assigned)
        self.owned = frozenset(partition.partition for partition in assigned)


class Stream:
    """A topic of one test, its dead letters and its group."""

    def __init__(self, kafka: KafkaSettings, admin: AIOKafkaAdminClient, publisher: KafkaPublisher) -> None:
        # The broker allows no shorter session.
        self.kafka = kafka.model_copy(update={"session_timeout": timedelta(seconds=6)})
        self.admin = admin
        self.publisher = publisher
        self.topic = f"test.readings.{os.getpid()}.{next(_numbers)}"
        self.group = f"{self.topic}.group"
        self.start = datetime.now(UTC) - timedelta(hours=1)

    def consumer(self, handle: Handle, *, max_batch: int = 10, max_poll_interval: float = 60) -> Observed:
        """A consumer of the topic in the group."""
        return Observed(
            topic=self.topic,
            group=self.group,
            decode=decoder_for(NodeReading),
            handle=handle,
            dead_letters=self.publisher,
            kafka=self.kafka,
            settings=ConsumerSettings(
                max_batch=max_batch,
                max_poll_interval=timedelta(seconds=max_poll_interval),
                retry_first=timedelta(milliseconds=50),
                retry_cap=timedelta(milliseconds=200),
            ),
            metrics=ConsumerMetrics(CollectorRegistry()).of(self.topic),
        )

    async def publish(self, numbers: Sequence[int], *, partition: int | None = None) -> None:
        """Publish the readings with these numbers, each of a node of its own."""
        records = [
            encode(
                NodeReading(
                    identifier=f"gonka1node{number}",
                    identifier_type="wallet",
                    source="hyperfusion",
                    observed_at=self.start + timedelta(milliseconds=number),
                )
            )._replace(topic=self.topic)
            for number in numbers
        ]
        await self.publisher.send(records, partition=partition)

    async def committed(self) -> int:
        """How many records the group has committed, all partitions together."""
        found = await self.admin.list_consumer_group_offsets(self.group)
        return sum(held.offset for held in found.values() if held.offset > 0)

    async def dead_letters(self) -> list[ConsumerRecord]:
        """The topic's dead letters."""
        return await records_of(self.kafka, dead_letter_topic(self.topic))


@pytest.fixture
async def stream(kafka: KafkaSettings) -> AsyncIterator[Stream]:
    admin = AIOKafkaAdminClient(bootstrap_servers=kafka.bootstrap_servers)
    await admin.start()
    try:
        publisher = KafkaPublisher(kafka)
        async with publisher:
            stream = Stream(kafka, admin, publisher)
            await admin.create_topics(
                [
                    NewTopic(name, PARTITIONS, 1, topic_configs=Topic(name, PARTITIONS, timedelta(days=1)).settings())
                    for name in (stream.topic, dead_letter_topic(stream.topic))
                ]
            )
            yield stream
            await admin.delete_topics([stream.topic, dead_letter_topic(stream.topic)])
    finally:
        await admin.close()


class Handled:
    """A handler that notes the numbers of the readings it was given."""

    def __init__(self) -> None:
        self.numbers: list[int] = []

    async def __call__(self, readings: Sequence[NodeReading]) -> Applied:
        self.numbers += numbers_of(readings)
        return Applied(len(readings), 0)

    async def has(self, wanted: Sequence[int]) -> bool:
        return set(self.numbers) >= set(wanted)


def numbers_of(readings: Sequence[NodeReading]) -> list[int]:
    return [int(reading.identifier.removeprefix("gonka1node")) for reading in readings]


@asynccontextmanager
async def running(*consumers: Observed) -> AsyncIterator[None]:
    """Run the consumers until the block ends."""
    try:
        for consumer in consumers:
            await consumer.start()
        yield
    finally:
        for consumer in consumers:
            await consumer.stop()


async def test_a_first_start_reads_from_the_beginning_and_commits_what_it_handled(stream: Stream) -> None:
    numbers = range(200)
    await stream.publish(numbers)
    handled = Handled()
    async with running(stream.consumer(handled)):
        await until(lambda: handled.has(numbers), "all handled")
    assert sorted(handled.numbers) == list(numbers)
    assert await stream.committed() == len(numbers)


async def test_an_outage_longer_than_the_poll_interval_costs_no_partition_and_no_record(stream: Stream) -> None:
    numbers = range(60)
    applied = Handled()
    max_poll_interval = 1.5
    outage_began: list[float] = []

    async def handle(readings: Sequence[NodeReading]) -> Applied:
        outage_began.append(time.monotonic())
        if time.monotonic() - outage_began[0] < 3 * max_poll_interval:
            raise ConnectionError("the database is away")
        return await applied(readings)

    await stream.publish(numbers, partition=2)
    consumer = stream.consumer(handle, max_poll_interval=max_poll_interval)
    async with running(consumer):
        await until(lambda: applied.has(numbers), "all applied after the outage")
        assert consumer.revocations == 0
    assert applied.numbers == list(numbers), "once, and in the order of their partition"
    assert await stream.committed() == len(numbers)
    assert await stream.dead_letters() == []


async def test_a_stop_lets_the_batch_in_hand_finish_and_commits_it(stream: Stream) -> None:
    began, go_on = asyncio.Event(), asyncio.Event()
    first = Handled()

    async def handle(readings: Sequence[NodeReading]) -> Applied:
        began.set()
        await go_on.wait()
        return await first(readings)

    numbers = range(100)
    await stream.publish(numbers, partition=1)
    consumer = stream.consumer(handle)
    await consumer.start()
    await asyncio.wait_for(began.wait(), 20)
    stopping = asyncio.create_task(consumer.stop())
    await until(lambda: _is_set(consumer), "it stops")
    go_on.set()
    await stopping
    assert first.numbers == list(range(10)), "one batch, no further one"
    assert await stream.committed() == 10

    second = Handled()
    async with running(stream.consumer(second)):
        await until(lambda: second.has(range(10, 100)), "the rest handled")
    assert second.numbers == list(range(10, 100))


async def _is_set(consumer: Observed) -> bool:
    return bool(consumer.should_stop)


async def test_a_defect_stops_the_consumer_and_commits_nothing(stream: Stream) -> None:
    async def handle(_: Sequence[NodeReading]) -> Applied:
        raise KeyError("nobody foresaw this")

    await stream.publish(range(20))
    consumer = stream.consumer(handle)

    async def crashed() -> bool:
        return consumer.crashed

    async with running(consumer):
        await until(crashed, "the consumer crashed")
    assert isinstance(consumer.crash_reason, KeyError)
    assert await stream.committed() == 0
    assert await stream.dead_letters() == []


async def test_two_consumers_share_the_partitions_and_one_that_leaves_hands_over_without_loss(stream: Stream) -> None:
    handled = Handled()
    one, other = stream.consumer(handled), stream.consumer(handled)

    async def shared() -> bool:
        return len(one.owned) == len(other.owned) == PARTITIONS / 2 and one.owned.isdisjoint(other.owned)

    async with running(one, other):
        await until(shared, "each has half of the partitions")
        await stream.publish(range(300))
        await until(lambda: handled.has([0]), "some handled")
        await other.stop()
        await stream.publish(range(300, 600))
        await until(lambda: handled.has(range(600)), "all handled")

        async def all_committed() -> bool:
            return await stream.committed() == 600

        await until(all_committed, "all committed")
    assert await stream.dead_letters() == []
