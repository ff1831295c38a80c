"""The loop of the peers that use aiokafka by itself: poll, write, commit."""

from collections.abc import Awaitable, Callable, Sequence

from aiokafka import AIOKafkaConsumer

from bench.peers.command import Arguments, stopping
from services.kernel.events import READINGS_TOPIC
from services.kernel.settings import KafkaSettings, load


async def drain(given: Arguments, write: Callable[[Sequence[bytes]], Awaitable[None]]) -> None:
    """Hand the values of each poll to `write`, then commit the poll's offsets, until SIGTERM."""
    consumer = AIOKafkaConsumer(
        READINGS_TOPIC,
        bootstrap_servers=load(KafkaSettings).bootstrap_servers,
        group_id=given.group,
        auto_offset_reset="earliest",
        enable_auto_commit=False,
    )
    stop = stopping()
    await consumer.start()
    try:
        while not stop.is_set():
            polled = await consumer.getmany(timeout_ms=200, max_records=given.batch)
            if polled:
                await write([record.value for records in polled.values() for record in records])
                await consumer.commit({partition: records[-1].offset + 1 for partition, records in polled.items()})
    finally:
        await consumer.stop()
