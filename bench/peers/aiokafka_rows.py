"""aiokafka and asyncpg, a statement for each record: what one writes first.

Follows aiokafka's documentation: `getmany` for batches, automatic commits off, offsets committed by hand after the
work. Follows asyncpg's: `executemany` for many rows, which prepares the statement once and sends the rows in one go, in
one transaction. msgspec decodes.

At least once: offsets are committed after PostgreSQL has. Newest wins, row by row. It lacks reduction (each record is
a write), overlap of polling and writing, dead letters (an undecodable record ends the process, again at each start),
retries (so does a database that is away for a moment), and whatever would tell how it does.
"""

import asyncio
from collections.abc import Sequence

import msgspec

from bench.peers.command import Arguments, arguments
from bench.peers.polled import drain
from bench.peers.table import decode, statements
from services.kernel.database import connect
from services.kernel.settings import DatabaseSettings, load


async def _main(given: Arguments) -> None:
    statement = statements(given.table).one
    connection = await connect(load(DatabaseSettings))

    async def write(values: Sequence[bytes]) -> None:
        await connection.executemany(statement, [msgspec.structs.astuple(decode(value)) for value in values])

    await drain(given, write)


if __name__ == "__main__":
    asyncio.run(_main(arguments(batch=1000)))
