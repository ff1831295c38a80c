"""aiokafka and asyncpg, reduced to each node's newest reading, which `executemany` writes.

What one makes of aiokafka_rows after a look at how much it writes: as there, but a node's newest reading of a batch is
one row, sorted by key so that two workers cannot deadlock, and batches are larger, because a larger one holds more
readings of the same node.

At least once: offsets are committed after PostgreSQL has. Newest wins, in the batch and in the row. It lacks overlap of
polling and writing, dead letters, retries, and whatever would tell how it does.
"""

import asyncio
from collections.abc import Sequence

from bench.peers.command import Arguments, arguments
from bench.peers.polled import drain
from bench.peers.table import newest, statements
from services.kernel.database import connect
from services.kernel.settings import DatabaseSettings, load


async def _main(given: Arguments) -> None:
    statement = statements(given.table).one
    connection = await connect(load(DatabaseSettings))

    async def write(values: Sequence[bytes]) -> None:
        await connection.executemany(statement, newest(values))

    await drain(given, write)


if __name__ == "__main__":
    asyncio.run(_main(arguments(batch=5000)))
