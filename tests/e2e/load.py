"""Events at a steady rate until SIGTERM, for a container of the project's image: `python -c SOURCE RATE PREFIX`.

RATE readings a second, each of its own five minutes of a node, which uptime keeps as a bit; and with every twentieth a
report of earnings, each of its own day, which is a row of the ledger. So what arrived can be counted. The last line
says how many there were. It imports only what the image has.
"""

import asyncio
import json
import math
import signal
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

from aiokafka.errors import KafkaError

from services.kernel.events import EarningsReport, Event, NodeReading
from services.kernel.publisher import KafkaPublisher
from services.kernel.settings import KafkaSettings, load

NODES = 1000
EARNINGS_EVERY = 20

_FIRST_DAY = datetime(2024, 1, 1, tzinfo=UTC)
_FIRST_SEEN = datetime.now(UTC) - timedelta(days=100)  # uptime is kept for 400 days
_TICK_SECONDS = 0.05


async def publish(rate: int, prefix: str) -> None:
    """Publish until SIGTERM, and then what was due by then: whatever comes between, every number is published."""
    began, until = time.monotonic(), math.inf

    def stop() -> None:
        nonlocal until
        until = time.monotonic()

    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop)
    published = retries = 0
    publisher = KafkaPublisher(load(KafkaSettings))
    async with publisher:
        while (due := int((min(time.monotonic(), until) - began) * rate)) > published or until == math.inf:
            batch = range(published, min(due, published + rate))
            events = [event for number in batch for event in _events(prefix, number)]
            while True:
                try:
                    await publisher.publish(events)
                    break
                except KafkaError:
                    retries += 1
                    await asyncio.sleep(_TICK_SECONDS)
            if published == 0 and batch:
                _write("publishing")
            published = batch.stop
            await asyncio.sleep(_TICK_SECONDS)
    _write(json.dumps({"readings": published, "seconds": round(until - began, 1), "retries": retries}))


def _events(prefix: str, number: int) -> Iterator[Event]:
    turn, node = divmod(number, NODES)
    identifier = f"{prefix}/{node}"
    yield NodeReading(
        identifier=identifier,
        identifier_type="node_id",
        source="load",
        observed_at=_FIRST_SEEN + turn * timedelta(minutes=5),
        status="healthy",
        health_probed=True,
        jobs_day=turn,
    )
    if number % EARNINGS_EVERY == 0:
        yield EarningsReport(
            identifier=identifier,
            identifier_type="node_id",
            source="load",
            kind="day",
            period=f"{_FIRST_DAY + turn * timedelta(days=1):%Y-%m-%d}",
            amount_ngonka=number,
            observed_at=datetime.now(UTC),
            final=True,
        )


def _write(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    asyncio.run(publish(int(sys.argv[1]), sys.argv[2]))
