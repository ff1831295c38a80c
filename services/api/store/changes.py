"""Which rows have been written since the last look, without a column or a trigger for it."""

from datetime import datetime, timedelta
from typing import Final, NamedTuple

from services.api.changes import NodeRow, SettlementRow, SourceRow, source_state
from services.api.store.nodes import VERSION_OF
from services.kernel.database import Connection

# The oldest transaction that is still running: whatever an older one wrote is visible now.
OLDEST_RUNNING: Final = "SELECT pg_snapshot_xmin(pg_current_snapshot())::xid::text, now()"

# $1: the oldest transaction that was running at the last look, or NULL for all rows. Whatever has been committed since
# was written by it or a younger one; what was there already may come along. age() counts as the clock of transactions
# does, round after round.
CHANGED_NODES: Final = f"""
SELECT identifier, status, source, fetched_at, uptime_percent, jobs_day, active_model, earnings_day, earnings_total,
    {VERSION_OF}
FROM node_stats_cache AS stats JOIN nodes ON id = node_id
WHERE $1::text IS NULL OR age(stats.xmin) <= age($1::text::xid) OR age(nodes.xmin) <= age($1::text::xid)
"""  # noqa: S608 - put together from constants
CHANGED_SETTLEMENTS: Final = """
SELECT epoch, settled_at, exact FROM epoch_settlement WHERE $1::text IS NULL OR age(xmin) <= age($1::text::xid)
"""
SOURCES: Final = "SELECT * FROM tracker_sources"


class Look(NamedTuple):
    """What a look saw, and from where on the next one has to look."""

    nodes: list[NodeRow]
    settlements: list[SettlementRow]
    sources: list[SourceRow]
    since: str
    at: datetime
    """The database's time."""


async def look(connection: Connection, since: str | None, ttl: timedelta) -> Look:
    """The rows written since the look that returned `since`; all rows where it is None.

    Sources are always all of them: their state also changes by the passing of time.
    """
    async with connection.transaction(isolation="repeatable_read", readonly=True):
        oldest = await connection.fetchrow(OLDEST_RUNNING)
        assert oldest is not None, "it always has a row"
        now: datetime = oldest[1]
        return Look(
            [NodeRow(*each) for each in await connection.fetch(CHANGED_NODES, since)],
            [SettlementRow(*each) for each in await connection.fetch(CHANGED_SETTLEMENTS, since)],
            [
                SourceRow(
                    each["name"], source_state(each, now, ttl.total_seconds()), each["data_at"], each["last_error"]
                )
                for each in await connection.fetch(SOURCES)
            ],
            oldest[0],
            now,
        )
