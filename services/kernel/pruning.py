"""Deleting what has outlived its limit: every night, in small transactions, one worker at a time.

The limits stand with the tables' owners, in `cache/retention.py` and `earnings/retention.py`.
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, date, datetime
from typing import Final, NamedTuple

import faust
import structlog
from prometheus_client import CollectorRegistry, Counter

from services.kernel.database import Database
from services.kernel.transient import classify

NIGHTLY = "47 3 * * *"
"""When to prune (UTC): after the nightly reconciliation."""

ROWS_AT_ONCE: Final = 5_000

# One worker at a time is enough; the others find the lock taken and leave it to that one.
_TAKE_DUTY: Final = "SELECT pg_try_advisory_lock(hashtextextended($1, 0))"
_LEAVE_DUTY: Final = "SELECT pg_advisory_unlock(hashtextextended($1, 0))"

_log = structlog.get_logger(__name__)


class Pruned(NamedTuple):
    """How many rows of a table went, or would go: those from before the UTC date `since`."""

    table: str
    since: date
    rows: int


Prune = Callable[[datetime], Awaitable[Sequence[Pruned] | None]]
"""Deletes what is too old at a time; None when another worker is at it."""


@asynccontextmanager
async def duty(database: Database, name: str) -> AsyncIterator[bool]:
    """Whether this is the one worker that has the duty `name`; nobody else gets it until the block has ended."""
    async with database.connection() as connection:
        taken: bool = await connection.fetchval(_TAKE_DUTY, name)
        try:
            yield taken
        finally:
            if taken:
                await connection.execute(_LEAVE_DUTY, name)


async def delete_in_batches(delete: Callable[[], Awaitable[int]]) -> int:
    """Repeat a deletion of at most ROWS_AT_ONCE rows until one finds fewer; how many went."""
    rows = 0
    while True:
        gone = await delete()
        rows += gone
        if gone < ROWS_AT_ONCE:
            return rows


def schedule_pruning(app: faust.App, registry: CollectorRegistry, prune: Prune) -> None:
    """Let the app prune every night. What passes by itself, like a database that is away, waits for the next one."""
    rows = Counter(
        "minegnk_pruned_rows", "Rows deleted because they outlived their limit.", ["table"], registry=registry
    )

    @app.crontab(NIGHTLY)
    async def pruning() -> None:
        try:
            pruned = await prune(datetime.now(UTC))
        except Exception as error:
            if not classify(error).passes:
                raise
            _log.warning("pruning_postponed", error=repr(error))
            return
        for each in pruned or ():
            rows.labels(each.table).inc(each.rows)
            _log.info("pruned", table=each.table, rows=each.rows, since=each.since.isoformat())
