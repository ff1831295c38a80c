"""aiokafka and asyncpg, reduced to each node's newest reading in one statement: the tuned loop of an experienced hand.

One statement for a batch instead of one for each row: an `INSERT … SELECT FROM unnest(…)` of arrays, sorted by key so
that two workers cannot deadlock. Batches are larger, because a larger one holds more readings of the same node, of
which one is written. The consumer is aiokafka's documented one: `getmany`, automatic commits off, offsets by hand.

At least once: offsets are committed after PostgreSQL has. Newest wins, in the batch and in the row. It lacks overlap of
polling and writing, dead letters (an undecodable record ends the process, again at each start), retries (so does a
database that is away for a moment), and whatever would tell how it does.
"""

import asyncio
from collections.abc import Sequence

from bench.peers.command import Arguments, arguments
from bench.peers.polled import drain
from bench.peers.table import newest, statements
from services.kernel.database import connect
from services.kernel.settings import DatabaseSettings, load


async def _main(given: Arguments) -> None:
    statement = statements(given.table).many
    connection = await connect(load(DatabaseSettings))

    async def write(values: Sequence[bytes]) -> None:
        await connection.execute(statement, *zip(*newest(values), strict=True))

    await drain(given, write)


if __name__ == "__main__":
    asyncio.run(_main(arguments(batch=5000)))
