"""How long uptime is kept, and deleting what is older."""

from datetime import UTC, date, datetime, timedelta
from functools import partial
from typing import Final

from services.kernel.database import Database
from services.kernel.pruning import ROWS_AT_ONCE, Pruned, delete_in_batches, duty

UPTIME_DAYS: Final = 400
"""A year and a month: a month can be compared with the same one a year before. No window reaches further back."""

COUNT_NODE_UPTIME: Final = "SELECT count(*) FROM node_uptime WHERE date < $1"
COUNT_SOURCE_UPTIME: Final = "SELECT count(*) FROM source_uptime WHERE date < $1"

# Never waits for a row that a worker holds: what is skipped goes the next night.
DELETE_NODE_UPTIME: Final = """
WITH old AS MATERIALIZED (
    SELECT node_id, date FROM node_uptime WHERE date < $1 ORDER BY date, node_id LIMIT $2 FOR UPDATE SKIP LOCKED
)
DELETE FROM node_uptime AS held USING old WHERE (held.node_id, held.date) = (old.node_id, old.date)
"""
DELETE_SOURCE_UPTIME: Final = """
WITH old AS MATERIALIZED (
    SELECT source, date FROM source_uptime WHERE date < $1 ORDER BY date, source LIMIT $2 FOR UPDATE SKIP LOCKED
)
DELETE FROM source_uptime AS held USING old WHERE (held.source, held.date) = (old.source, old.date)
"""

_TABLES: Final = {
    "node_uptime": (COUNT_NODE_UPTIME, DELETE_NODE_UPTIME),
    "source_uptime": (COUNT_SOURCE_UPTIME, DELETE_SOURCE_UPTIME),
}


async def prune_uptime(database: Database, now: datetime, *, dry_run: bool = False) -> list[Pruned] | None:
    """Delete uptime from before the last UPTIME_DAYS days (`dry_run`: count it). None when another worker is at it."""
    since = now.astimezone(UTC).date() - timedelta(days=UPTIME_DAYS)
    async with duty(database, "minegnk.retention.uptime") as mine:
        if not mine:
            return None
        pruned = []
        for table, (count, delete) in _TABLES.items():
            if dry_run:
                async with database.connection() as connection:
                    rows = await connection.fetchval(count, since)
            else:
                rows = await delete_in_batches(partial(_delete, database, delete, since))
            pruned.append(Pruned(table, since, rows))
        return pruned


async def _delete(database: Database, statement: str, since: date) -> int:
    async with database.transaction() as connection:
        status = await connection.execute(statement, since, ROWS_AT_ONCE)
    return int(status.rsplit(" ", 1)[1])
