"""The limit: a consumer that reads and commits, and does nothing else. `python -m bench.raw TOPIC [--plain]`.

With uvloop and without the garbage collector, as the services run; --plain: with Python's defaults.
"""

import asyncio
import gc
import signal
import sys

import uvloop
from aiokafka import AIOKafkaConsumer

from services.kernel.settings import KafkaSettings, load


async def _read(topic: str, max_records: int) -> None:
    consumer = AIOKafkaConsumer(
        topic,
        bootstrap_servers=load(KafkaSettings).bootstrap_servers,
        group_id="bench.raw",
        enable_auto_commit=False,
        max_partition_fetch_bytes=4 * 1024 * 1024,
        fetch_max_wait_ms=100,
    )
    stopping = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopping.set)
    await consumer.start()
    while not stopping.is_set():
        if await consumer.getmany(timeout_ms=500, max_records=max_records):
            await consumer.commit()
    await consumer.stop()


if __name__ == "__main__":
    plain = "--plain" in sys.argv
    if not plain:
        gc.disable()
    with asyncio.Runner(loop_factory=None if plain else uvloop.new_event_loop) as runner:
        runner.run(_read(sys.argv[1], 5000))
