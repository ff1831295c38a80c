"""A topic of one test with its group and dead letters, and consumers of it inside the test's process."""

import itertools
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

from aiokafka import ConsumerRecord, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from prometheus_client import CollectorRegistry

from services.kernel.consumer import BatchConsumer
from services.kernel.dead_letters import RecordSender
from services.kernel.events import NodeReading
from services.kernel.halving import Applied
from services.kernel.publisher import KafkaPublisher
from services.kernel.settings import ConsumerSettings, KafkaSettings
from services.kernel.telemetry import ConsumerMetrics
from services.kernel.topics import Topic, dead_letter_topic
from services.kernel.wire import OutgoingRecord, decoding_of, encode
from tests.integration.pipeline import records_of, until

PARTITIONS = 4

_numbers = itertools.count(1)

Handle = Callable[[Sequence[NodeReading]], Awaitable[Applied]]


class Observed(BatchConsumer[NodeReading]):
    """A batch consumer that notes its assignments and revocations."""

    owned: frozenset[int] = frozenset()
    revocations = 0

    def __init__(self, *, registry: CollectorRegistry, **arguments: Any) -> None:
        super().__init__(**arguments)
        self._registry = registry

    def metric(self, name: str, partition: int) -> float | None:
        """The value of a partition's gauge."""
        return self._registry.get_sample_value(name, {"topic": self.topic, "partition": str(partition)})

    def outcomes(self) -> dict[str, int]:
        """How many records were counted, by what became of them."""
        samples = [sample for metric in self._registry.collect() for sample in metric.samples]
        return {
            sample.labels["outcome"]: int(sample.value)
            for sample in samples
            if sample.name == "minegnk_consumer_records_total"
        }

    def batch_records(self) -> float | None:
        """How many records the committed batches had."""
        return self._registry.get_sample_value("minegnk_consumer_batch_records_sum", {"topic": self.topic})

    def polled(self) -> int:
        """How many records were read, those of batches that were left twice."""
        return int(self._registry.get_sample_value("minegnk_consumer_polled_records_total", {"topic": self.topic}) or 0)

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

    def consumer(
        self,
        handle: Handle,
        *,
        max_batch: int = 10,
        max_poll_interval: float = 60,
        invalid_limit: int = 100,
        dead_letters: RecordSender | None = None,
    ) -> Observed:
        """A consumer of the topic in the group."""
        registry = CollectorRegistry()
        return Observed(
            topic=self.topic,
            group=self.group,
            decoding=decoding_of(NodeReading),
            handle=handle,
            dead_letters=dead_letters or self.publisher,
            kafka=self.kafka,
            settings=ConsumerSettings.model_validate(
                {
                    "max_batch": max_batch,
                    "max_poll_interval": max_poll_interval,
                    "retry_first": 0.05,
                    "retry_cap": 0.2,
                    "invalid_limit": invalid_limit,
                }
            ),
            metrics=ConsumerMetrics(registry).of(self.topic),
            registry=registry,
        )

    async def publish(self, numbers: Sequence[int], *, partition: int | None = None) -> None:
        """Publish the readings with these numbers, each of a node of its own."""
        await self.publisher.send(map(self.reading, numbers), partition=partition)

    async def publish_invalid(self, records: int, *, partition: int) -> None:
        """Publish records that are no JSON."""
        await self.publisher.send([OutgoingRecord(self.topic, b"k", b"no JSON", [])] * records, partition=partition)

    def reading(self, number: int) -> OutgoingRecord:
        """The record of the reading with this number."""
        reading = NodeReading(
            identifier=f"gonka1node{number}",
            identifier_type="wallet",
            source="hyperfusion",
            observed_at=self.start + timedelta(milliseconds=number),
        )
        return encode(reading)._replace(topic=self.topic)

    async def offset(self, partition: int) -> int:
        """The partition's committed offset; -1: none."""
        found = await self.admin.list_consumer_group_offsets(self.group)
        held = found.get(TopicPartition(self.topic, partition))
        return -1 if held is None else held.offset

    async def committed(self) -> int:
        """How many records the group has committed, all partitions together."""
        found = await self.admin.list_consumer_group_offsets(self.group)
        return sum(held.offset for held in found.values() if held.offset > 0)

    async def until_committed(self, records: int) -> None:
        """Wait until the group has committed so many records."""

        async def all_are() -> bool:
            return await self.committed() == records

        await until(all_are, f"{records} records committed")

    async def dead_letters(self) -> list[ConsumerRecord]:
        """The topic's dead letters."""
        return await records_of(self.kafka, dead_letter_topic(self.topic))


@asynccontextmanager
async def new_stream(kafka: KafkaSettings) -> AsyncIterator[Stream]:
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
