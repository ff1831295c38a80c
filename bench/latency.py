"""From event to committed row: readings are published at a steady rate, and rows are looked for all the time."""

import asyncio
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime

import asyncpg
from aiokafka import AIOKafkaProducer
from aiokafka.producer.message_accumulator import BatchBuilder

from bench.loads import identifier, reading
from services.kernel.database import connect_arguments
from services.kernel.events import READINGS_TOPIC
from services.kernel.publisher import partition_of
from services.kernel.topics import TOPICS
from services.kernel.wire import encode
from tests.integration.pipeline import Pipeline

_TICK_SECONDS = 0.01
_LOOK_SECONDS = 0.003
_WATCHED = 10  # of so many nodes one is looked at: looking at all would take a core
_WARM_SECONDS = 2.0
# A reading tells when it was made; a row that shows it is committed.
_ROWS = "SELECT node_id, fetched_at FROM node_stats_cache WHERE node_id = ANY($1::uuid[])"


@dataclass(frozen=True, slots=True)
class Latency:
    """Milliseconds from a reading's making to its row's being seen, of those rows that were seen (some are replaced
    sooner than they are looked at). `achieved` is the rate at which readings could be published."""

    rate: int
    achieved: float
    seen: int
    p50: float
    p99: float
    longest: float


async def latency(pipeline: Pipeline, *, nodes: int, rate: int, seconds: float) -> Latency:
    """Measure at so many readings a second, while a cache service works. The first seconds do not count.

    Looks until the last reading has been consumed: a service that falls behind is seen to.
    """
    await pipeline.publish([reading(node, datetime.now(UTC), 0) for node in range(nodes)])
    await pipeline.drained(READINGS_TOPIC, seconds=60)  # it has started, and every node has its row

    async def publish() -> float:
        achieved = await _publish(pipeline, nodes, rate, _WARM_SECONDS + seconds)
        await pipeline.drained(READINGS_TOPIC, seconds=60)
        return achieved

    publishing = asyncio.create_task(publish())
    await asyncio.sleep(_WARM_SECONDS)
    seen = await _look(pipeline, publishing)
    achieved = await publishing
    if not seen:
        raise RuntimeError("no reading became a row")
    seen.sort()
    return Latency(
        rate, achieved, len(seen), seen[len(seen) // 2] * 1e3, seen[int(len(seen) * 0.99)] * 1e3, seen[-1] * 1e3
    )


async def _publish(pipeline: Pipeline, nodes: int, rate: int, seconds: float) -> float:
    """Publish in small batches, one a partition and tick; returns the rate that came of it."""
    producer = AIOKafkaProducer(bootstrap_servers=pipeline.kafka.bootstrap_servers, acks="all", linger_ms=0)
    await producer.start()
    every = next(list(range(topic.partitions)) for topic in TOPICS if topic.name == READINGS_TOPIC)
    places = {node: partition_of(identifier(node).encode(), every, every) for node in range(nodes)}
    sequence = _round_robin(nodes)
    start, published = time.monotonic(), 0
    deliveries: list[asyncio.Future[object]] = []
    try:
        while (elapsed := time.monotonic() - start) < seconds:
            batches: dict[int, BatchBuilder] = {}
            for _ in range(int(rate * (elapsed + _TICK_SECONDS)) - published):
                round_number, node = next(sequence)
                record = encode(reading(node, datetime.now(UTC), round_number))
                if places[node] not in batches:
                    batches[places[node]] = producer.create_batch()
                batches[places[node]].append(key=record.key, value=record.value, timestamp=None, headers=record.headers)
                published += 1
            for partition, batch in batches.items():
                deliveries.append(await producer.send_batch(batch, READINGS_TOPIC, partition=partition))
            await asyncio.sleep(max(0.0, start + elapsed + _TICK_SECONDS - time.monotonic()))
        await asyncio.gather(*deliveries)
        return published / (time.monotonic() - start)
    finally:
        await producer.stop()


def _round_robin(nodes: int) -> Iterator[tuple[int, int]]:
    number = 0
    while True:
        yield divmod(number, nodes)
        number += 1


async def _look(pipeline: Pipeline, until: "asyncio.Task[float]") -> list[float]:
    """Seconds of each reading that was seen as a row, until the task ends."""
    seen: list[float] = []
    connection = await asyncpg.connect(**connect_arguments(pipeline.database))
    try:
        every = [row["node_id"] for row in await connection.fetch("SELECT node_id FROM node_stats_cache ORDER BY 1")]
        watched = every[::_WATCHED]
        known = {row["node_id"]: row["fetched_at"] for row in await connection.fetch(_ROWS, watched)}
        while not until.done():
            rows = await connection.fetch(_ROWS, watched)
            now = datetime.now(UTC)
            for row in rows:
                if known.get(row["node_id"]) != row["fetched_at"]:
                    known[row["node_id"]] = row["fetched_at"]
                    seen.append((now - row["fetched_at"]).total_seconds())
            await asyncio.sleep(_LOOK_SECONDS)
    finally:
        await connection.close()
    return seen
