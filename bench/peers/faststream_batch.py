"""FastStream's Kafka subscriber in batches, written with asyncpg.

Follows FastStream's documentation: `batch=True` with `max_records`, a pydantic model as the handler's argument, the
database's pool in the lifespan, and for at least once the policy NACK_ON_ERROR (without one it acknowledges first, by
the client's automatic commits). asyncpg writes with `executemany`, a statement for each record.

At least once: a batch is acknowledged, its offsets committed, after the handler has returned; after an error its
records are read again at once, so that a database that is away is asked again and again without a pause, and an
undecodable record keeps its batch, and all that follows it, from being written for ever. Newest wins, row by row. It
lacks reduction, overlap and dead letters.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime
from decimal import Decimal

import asyncpg
from faststream import AckPolicy, FastStream
from faststream.kafka import KafkaBroker
from pydantic import BaseModel

from bench.peers.command import Arguments, arguments
from bench.peers.table import statements
from services.kernel.database import Pool, connect_arguments
from services.kernel.events import READINGS_TOPIC
from services.kernel.settings import DatabaseSettings, KafkaSettings, load


class Reading(BaseModel):
    """A reading's columns; other fields are ignored."""

    identifier: str
    source: str
    observed_at: datetime
    status: str | None = None
    jobs_day: int | None = None
    active_model: str | None = None
    voting_weight: Decimal | None = None


def create_app(given: Arguments) -> FastStream:
    """The app, with one subscriber."""
    statement = statements(given.table).one
    broker = KafkaBroker(load(KafkaSettings).bootstrap_servers)
    pool: Pool

    @asynccontextmanager
    async def lifespan() -> AsyncIterator[None]:
        nonlocal pool
        async with asyncpg.create_pool(**connect_arguments(load(DatabaseSettings))) as pool:
            yield

    @broker.subscriber(  # type: ignore[untyped-decorator]
        READINGS_TOPIC,
        group_id=given.group,
        auto_offset_reset="earliest",
        batch=True,
        max_records=given.batch,
        ack_policy=AckPolicy.NACK_ON_ERROR,
    )
    async def write(readings: list[Reading]) -> None:
        rows = [
            (r.identifier, r.source, r.observed_at, r.status, r.jobs_day, r.active_model, r.voting_weight)
            for r in readings
        ]
        async with pool.acquire() as connection:
            await connection.executemany(statement, rows)

    return FastStream(broker, lifespan=lifespan)


if __name__ == "__main__":
    asyncio.run(create_app(arguments(batch=1000)).run())
