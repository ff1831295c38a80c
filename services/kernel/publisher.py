"""Publishing events: an idempotent producer whose caller waits for Kafka's acknowledgement."""

import asyncio
from collections.abc import Iterable, Sequence
from contextlib import suppress
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError
from aiokafka.partitioner import DefaultPartitioner, murmur2
from mode import Service

from services.kernel.events import Event
from services.kernel.kafka import client_arguments
from services.kernel.settings import KafkaSettings
from services.kernel.topics import RECORD_LIMIT_BYTES
from services.kernel.wire import OutgoingRecord, encode

if TYPE_CHECKING:
    from services.kernel.traces import Tracing

_STOP_SECONDS = 1.0

_any_partition = DefaultPartitioner()
_hash = lru_cache(100_000)(murmur2)
"""A hash in pure Python, and keys come again and again: nodes' identifiers."""


def partition_of(key: bytes | None, every: list[int], available: list[int]) -> int:
    """The partition that every client of Kafka gives this key."""
    if key is None:
        return int(_any_partition(key, every, available))
    hashed: int = _hash(key)
    return every[(hashed & 0x7FFFFFFF) % len(every)]


class KafkaPublisher(Service):
    """Publishes records with acks=all and an idempotent producer; runs as a part of a service."""

    mundane_level = "debug"

    def __init__(
        self,
        settings: KafkaSettings,
        *,
        compression: str | None = None,
        tracing: "Tracing | None" = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self._compression = compression
        self._tracing = tracing
        self._settings = settings
        self._producer: AIOKafkaProducer | None = None
        self._connected = asyncio.Event()
        self._replacing = asyncio.Lock()

    async def on_start(self) -> None:
        """Connect. Raises KafkaConnectionError when no broker answers."""
        self._producer = self._new_producer()
        await self._producer.start()
        self._connected.set()

    def _new_producer(self) -> AIOKafkaProducer:
        return AIOKafkaProducer(
            **client_arguments(self._settings),
            enable_idempotence=True,
            acks="all",
            linger_ms=5,
            max_batch_size=262_144,
            compression_type=self._compression,
            # The producer insists on a value or a key, and looks before it serializes: `send` hands it a tuple of one.
            # A record with neither, which other producers do send, must fit into the dead letters.
            value_serializer=lambda wrapped: wrapped[0],
            # Counted before compression; the broker's own limit is the topic's.
            partitioner=partition_of,
            max_request_size=64 * RECORD_LIMIT_BYTES if self._compression else 2 * RECORD_LIMIT_BYTES,
        )

    async def on_stop(self) -> None:
        """Deliver what is under way and close. What Kafka does not take in time was not acknowledged to anybody."""
        async with self._replacing:
            if self._producer is not None:
                with suppress(TimeoutError):
                    await asyncio.wait_for(self._producer.stop(), _STOP_SECONDS)

    async def publish(self, events: Sequence[Event]) -> None:
        """Publish the events; returns once Kafka has acknowledged every one, raises KafkaError otherwise."""
        if self._tracing is None:
            await self.send(map(encode, events))
            return
        with self._tracing.publishing(list(map(encode, events))) as records:
            await self.send(records)

    async def send(self, records: Iterable[OutgoingRecord], *, partition: int | None = None) -> None:
        """Publish encoded records; returns once Kafka has acknowledged every one, raises KafkaError otherwise."""
        await self._connected.wait()  # parts of a service start one after the other, and may publish at once
        producer = self._producer
        assert producer is not None, "it is set before the event"
        deliveries = [
            await producer.send(
                record.topic, value=(record.value,), key=record.key, headers=record.headers, partition=partition
            )
            for record in records
        ]
        # Wait for all, even after one has failed: none may be reported to the event loop as never retrieved.
        outcomes = await asyncio.gather(*deliveries, return_exceptions=True)
        for outcome in outcomes:
            if isinstance(outcome, BaseException):
                await self._replace(producer)
                raise outcome

    async def _replace(self, failed: AIOKafkaProducer) -> None:
        """Go on with a new producer: the failed one has numbered a batch that the broker never took.

        Whatever it sent to that partition from now on would be refused as out of sequence.
        """
        async with self._replacing:
            replaced = self._producer is not failed
            if replaced or self.should_stop:
                return
            fresh = self._new_producer()
            try:
                await fresh.start()
            except KafkaError:  # Kafka is away: the next failure comes here again
                await fresh.stop()
                return
            self._producer = fresh
            await failed.stop()
