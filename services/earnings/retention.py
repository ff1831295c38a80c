"""How long superseded versions of a report are kept, and deleting those that are older.

The ledger and the history are kept for ever. Versions only explain how a report came to say what it says.
"""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Final
from uuid import UUID

from services.earnings.projection import lock_nodes
from services.kernel.database import Database
from services.kernel.pruning import ROWS_AT_ONCE, Pruned, delete_in_batches, duty

VERSION_DAYS: Final = 1_096
"""Three years, in which the chain's last six epochs have long stopped being restated, and most questions are asked."""

VERSIONS_KEPT: Final = 2
"""Of each report, however old: what is said, and what was said just before."""

NODES_AT_ONCE: Final = 20
"""Whoever reports on these nodes waits while their versions are looked through and deleted: tenths of a second."""

NODES_WITH_VERSIONS: Final = "SELECT node_id FROM earnings_node ORDER BY node_id"

# $1: nodes; $2: written before. Never the version that stands in the ledger, nor the last ones that the source said.
# Age is counted from the writing: what a backfill or a replay brings is kept as long as what came when it happened.
_SUPERSEDED: Final = f"""
FROM (
    SELECT version.*, row_number() OVER later AS age
    FROM earnings_version AS version
    WHERE node_id = ANY($1::uuid[])
    WINDOW later AS (PARTITION BY node_id, source, kind, period ORDER BY observed_at DESC, recorded_at DESC)
) AS said JOIN earnings_ledger AS ledger USING (node_id, source, kind, period)
WHERE age > {VERSIONS_KEPT} AND recorded_at < $2
    AND (said.final, said.amount_ngonka, said.work_ngonka, said.reward_ngonka, said.claimed)
        IS DISTINCT FROM (ledger.final, ledger.amount_ngonka, ledger.work_ngonka, ledger.reward_ngonka, ledger.claimed)
"""  # noqa: S608 - a constant
COUNT_SUPERSEDED: Final = f"SELECT node_id, count(*) AS versions {_SUPERSEDED} GROUP BY node_id ORDER BY node_id"
DELETE_SUPERSEDED: Final = f"""
DELETE FROM earnings_ledger_version AS version USING (SELECT said.* {_SUPERSEDED} LIMIT $3) AS said
WHERE (version.node_id, version.source, version.kind, version.period, version.final, version.amount_ngonka)
    = (said.node_id, said.source, said.kind, said.period, said.final, said.amount_ngonka)
AND (version.work_ngonka, version.reward_ngonka, version.claimed)
    IS NOT DISTINCT FROM (said.work_ngonka, said.reward_ngonka, said.claimed)
"""  # noqa: S608 - constants


async def prune_versions(database: Database, now: datetime, *, dry_run: bool = False) -> list[Pruned] | None:
    """Delete superseded versions that were written VERSION_DAYS ago (`dry_run`: count them).

    None when another worker is at it.
    """
    since = now.astimezone(UTC).date() - timedelta(days=VERSION_DAYS)
    before = datetime(since.year, since.month, since.day, tzinfo=UTC)
    async with duty(database, "minegnk.retention.versions") as mine:
        if not mine:
            return None
        async with database.connection() as connection:
            nodes = [row["node_id"] for row in await connection.fetch(NODES_WITH_VERSIONS)]
        rows = 0
        for begin in range(0, len(nodes), NODES_AT_ONCE):
            async with database.connection() as connection:
                found = await connection.fetch(COUNT_SUPERSEDED, nodes[begin : begin + NODES_AT_ONCE], before)
            if dry_run:
                rows += sum(row["versions"] for row in found)
            elif found:
                rows += await delete_in_batches(partial(_delete, database, [row["node_id"] for row in found], before))
        return [Pruned("earnings_ledger_version", since, rows)]


async def _delete(database: Database, nodes: Sequence[UUID], before: datetime) -> int:
    """Under the lock of whoever writes reports: none of them becomes the one that stands meanwhile."""
    async with database.transaction() as connection:
        await lock_nodes(connection, nodes)
        status = await connection.execute(DELETE_SUPERSEDED, nodes, before, ROWS_AT_ONCE)
    return int(status.rsplit(" ", 1)[1])
