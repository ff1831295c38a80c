"""A Faust agent that takes batches and writes them with asyncpg.

Follows Faust's documentation: a Record as the topic's model, `stream.take(max, within=seconds)` for batches, an asyncpg
pool, a statement for each record (`executemany`). Nothing else is tuned; offsets are
committed each second instead of each 2.8 so that progress can be watched. Faust decodes with orjson where it finds it.

Faust says at least once, and a killed worker keeps to it (after the session's minute). But `take` acknowledges a batch
whether its body returned or raised: what a database that is away for a moment refuses is committed and lost, and
SIGTERM commits the batch that it interrupts. One undecodable record ends the agent without a word, while the worker
stays. Newest wins, row by row. It lacks reduction, overlap, dead letters and retries.
"""

from datetime import datetime
from decimal import Decimal
from pathlib import Path
from tempfile import TemporaryDirectory

import asyncpg
import faust

from bench.peers.command import Arguments, arguments
from bench.peers.table import statements
from services.kernel.database import connect_arguments
from services.kernel.events import READINGS_TOPIC
from services.kernel.settings import DatabaseSettings, KafkaSettings, load


class Reading(faust.Record, coerce=True):
    """The columns of a reading. (Faust sets the other fields of the JSON as attributes too.)"""

    identifier: str
    source: str
    observed_at: datetime
    status: str | None = None
    jobs_day: int | None = None
    active_model: str | None = None
    voting_weight: Decimal | None = None


def create_app(given: Arguments, folder: Path) -> faust.App:
    """The app; its name is the consumer group."""
    statement = statements(given.table).one
    servers = load(KafkaSettings).bootstrap_servers
    app = faust.App(
        given.group,
        broker=";".join(f"kafka://{server.strip()}" for server in servers.split(",")),
        broker_commit_interval=1.0,
        datadir=folder,
        topic_disable_leader=True,
        web_enabled=False,
    )
    topic = app.topic(READINGS_TOPIC, key_type=bytes, value_type=Reading)

    @app.agent(topic)
    async def write(stream: faust.StreamT[Reading]) -> None:
        async with asyncpg.create_pool(**connect_arguments(load(DatabaseSettings))) as pool:
            async for readings in stream.take(given.batch, within=0.1):
                rows = [
                    (r.identifier, r.source, r.observed_at, r.status, r.jobs_day, r.active_model, r.voting_weight)
                    for r in readings
                ]
                async with pool.acquire() as connection:
                    await connection.executemany(statement, rows)

    return app


if __name__ == "__main__":
    with TemporaryDirectory() as folder:
        faust.Worker(create_app(arguments(batch=1000), Path(folder)), loglevel="WARNING").execute_from_commandline()
