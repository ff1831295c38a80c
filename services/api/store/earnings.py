"""What nodes and groups of nodes earned."""

from collections.abc import AsyncIterator
from datetime import date, timedelta
from typing import Any, Final
from uuid import UUID

from asyncpg import Record

from services.kernel.database import Connection

ROWS_AT_ONCE: Final = 1000

# A node's windows, as in the view earnings_trends (docs/earnings-views.md), of one node: its history is read once, by
# its index. $1: the node; $2: the last UTC date that is over.
WINDOWS: Final = """
WITH history AS MATERIALIZED (
    SELECT date, earnings_gnk FROM earnings_history WHERE node_id = $1 AND date <= $2::date
), started AS (
    SELECT min(date) AS first_date FROM history
), lived AS (
    SELECT span, length, greatest(first_date, $2 - length + 1) AS since, first_date
    FROM started, (VALUES ('1d', 1), ('7d', 7), ('30d', 30), ('90d', 90), ('all', NULL)) AS spans (span, length)
    WHERE first_date IS NOT NULL
)
SELECT span, since, $2 AS until, coalesce(now_days, 0) AS days, now_gnk AS earnings_gnk,
    earnings_quotient(now_gnk, $2 - since + 1, 8) AS average_gnk, before_gnk, changed.change_gnk,
    CASE WHEN before_gnk > 0 THEN earnings_quotient(100 * changed.change_gnk, before_gnk, 2) END AS change_percent,
    date '2000-01-01' - best[2]::integer AS best_date, best[1] AS best_gnk,
    date '2000-01-01' + worst[2]::integer AS worst_date, worst[1] AS worst_gnk
FROM lived
CROSS JOIN LATERAL (
    SELECT count(*) FILTER (WHERE date >= since)::integer AS now_days,
        sum(earnings_gnk) FILTER (WHERE date >= since) AS now_gnk,
        sum(earnings_gnk) FILTER (WHERE date <= $2 - length AND date > $2 - 2 * length) AS before_gnk,
        max(ARRAY[earnings_gnk, date '2000-01-01' - date]) FILTER (WHERE date >= since) AS best,
        min(ARRAY[earnings_gnk, date - date '2000-01-01']) FILTER (WHERE date >= since) AS worst
    FROM history WHERE length IS NULL OR date > $2 - 2 * length
) AS summed
CROSS JOIN LATERAL (
    SELECT CASE WHEN first_date <= $2 - 2 * length + 1 THEN now_gnk - before_gnk END AS change_gnk
) AS changed
ORDER BY length
"""

ESTIMATES: Final = """
SELECT epoch, source, estimate_gnk, method, observed_at FROM earnings_estimates WHERE node_id = $1
ORDER BY epoch DESC, source
"""

# $1: the node, $2 and $3: the first and the last date, $4: only dates before this one, or NULL.
DAYS: Final = """
SELECT date AS starts, earnings_gnk, 1 AS days, source FROM earnings_history
WHERE node_id = $1 AND date BETWEEN $2::date AND $3::date AND ($4::date IS NULL OR date < $4)
ORDER BY date DESC LIMIT $5
"""

# $6: 'week' or 'month'. A period that reaches over the dates is added up within them.
PERIODS: Final = """
SELECT date_trunc($6, date::timestamp)::date AS starts, sum(earnings_gnk) AS earnings_gnk, count(*)::integer AS days,
    NULL AS source
FROM earnings_history
WHERE node_id = $1 AND date BETWEEN $2::date AND $3::date
    AND ($4::date IS NULL OR date_trunc($6, date::timestamp)::date < $4)
GROUP BY 1 ORDER BY 1 DESC LIMIT $5
"""

# The same by the days of another time zone, $7: from epochs and when they settled, summed exactly and rounded once.
LOCAL_PERIODS: Final = """
SELECT date_trunc($6, local.date::timestamp)::date AS starts, gnk_of_ngonka(sum(amount_ngonka)) AS earnings_gnk,
    count(DISTINCT local.date)::integer AS days,
    CASE WHEN $6 = 'day' THEN string_agg(DISTINCT source, '+') END AS source
FROM earnings_epochs, LATERAL (SELECT (settled_at AT TIME ZONE $7)::date AS date) AS local
WHERE node_id = $1 AND local.date BETWEEN $2::date AND $3::date
    AND ($4::date IS NULL OR date_trunc($6, local.date::timestamp)::date < $4)
GROUP BY 1 ORDER BY 1 DESC LIMIT $5
"""

# $4: only epochs before this one, or NULL; $6: the time zone of their dates.
EPOCHS: Final = """
SELECT counts.epoch, local.date, settled_at, exact, gnk.amount AS amount_gnk, amount_ngonka, work_ngonka,
    reward_ngonka, claimed, counts.source,
    (SELECT count(DISTINCT amount_ngonka) > 1 FROM earnings_version AS version
     WHERE version.node_id = $1 AND version.source = counts.source AND kind = 'epoch' AND period = counts.epoch
        AND version.final) AS restated
FROM earnings_epochs AS counts,
    LATERAL (SELECT (settled_at AT TIME ZONE $6)::date AS date) AS local,
    LATERAL (SELECT amount_ngonka * 0.000000001 AS amount) AS gnk
WHERE node_id = $1 AND local.date BETWEEN $2::date AND $3::date AND ($4::integer IS NULL OR counts.epoch < $4)
ORDER BY counts.epoch DESC LIMIT $5
"""

# What every source says of these epochs ($2).
REPORTS: Final = """
SELECT period AS epoch, ledger.source, amount_ngonka, final, observed_at,
    (SELECT count(*) FROM earnings_version AS version
     WHERE version.node_id = $1 AND version.source = ledger.source AND version.kind = 'epoch'
        AND version.period = ledger.period)::integer AS versions
FROM earnings_ledger AS ledger
WHERE node_id = $1 AND kind = 'epoch' AND period = ANY($2::integer[])
ORDER BY period DESC, source
"""

BASIS: Final = "SELECT basis FROM earnings_node WHERE node_id = $1"
TIME_ZONES: Final = "SELECT name FROM pg_timezone_names WHERE name !~ '^(posix|right)/'"

SUMS: Final = """
SELECT key, starts, earnings_gnk, days FROM earnings_sums($2, $3, $4)
WHERE dimension = $1 AND ($5::text IS NULL OR key = $5)
ORDER BY starts DESC, key COLLATE "C"
"""
# By length: of a short history several windows have the same days.
TRENDS: Final = """
SELECT * FROM earnings_trends
WHERE dimension = $1 AND ($2::text IS NULL OR key = $2) AND ($3::text IS NULL OR span = $3)
ORDER BY key COLLATE "C", array_position(ARRAY['1d', '7d', '30d', '90d', 'all'], span)
"""


async def windows(connection: Connection, node_id: UUID, today: date) -> list[Record]:
    """The node's windows as of the day before `today`; none for a node without history until then."""
    return await connection.fetch(WINDOWS, node_id, today - timedelta(days=1))


async def estimates(connection: Connection, node_id: UUID) -> list[Record]:
    """What the running epoch may bring."""
    return await connection.fetch(ESTIMATES, node_id)


async def periods(
    connection: Connection,
    node_id: UUID,
    group: str,
    dates: tuple[date, date],
    *,
    before: date | None,
    limit: int,
    time_zone: str,
) -> list[Record]:
    """Sums by day, week or month, the newest first."""
    arguments: list[Any] = [node_id, *dates, before, limit]
    if time_zone != "UTC":
        return await connection.fetch(LOCAL_PERIODS, *arguments, group, time_zone)
    if group == "day":
        return await connection.fetch(DAYS, *arguments)
    return await connection.fetch(PERIODS, *arguments, group)


async def epochs(
    connection: Connection,
    node_id: UUID,
    dates: tuple[date, date],
    *,
    before: int | None,
    limit: int,
    time_zone: str,
) -> list[Record]:
    """Epochs that settled on these dates, the newest first."""
    return await connection.fetch(EPOCHS, node_id, *dates, before, limit, time_zone)


async def reports(connection: Connection, node_id: UUID, numbers: list[int]) -> dict[int, list[Record]]:
    """What every source says of these epochs, by epoch."""
    found: dict[int, list[Record]] = {number: [] for number in numbers}
    for row in await connection.fetch(REPORTS, node_id, numbers):
        found[row["epoch"]].append(row)
    return found


async def basis(connection: Connection, node_id: UUID) -> str | None:
    """What the node's history rests on: epoch, day, total, or nothing yet."""
    found: str | None = await connection.fetchval(BASIS, node_id)
    return found


async def time_zones(connection: Connection) -> frozenset[str]:
    """The names of the time zones that PostgreSQL knows."""
    return frozenset(row["name"] for row in await connection.fetch(TIME_ZONES))


async def today(connection: Connection, time_zone: str) -> date:
    """The date that it is there now."""
    found: date = await connection.fetchval("SELECT (now() AT TIME ZONE $1)::date", time_zone)
    return found


async def sums(
    connection: Connection, dimension: str, group: str, since: date, until: date, key: str | None
) -> AsyncIterator[list[Record]]:
    """Sums of a dimension's keys, or of one. Needs a transaction."""
    cursor = await connection.cursor(SUMS, dimension, group, since, until, key)
    while rows := await cursor.fetch(ROWS_AT_ONCE):
        yield rows


async def trends(connection: Connection, dimension: str, key: str | None, span: str | None) -> list[Record]:
    """The windows of a dimension's keys, or of one."""
    return await connection.fetch(TRENDS, dimension, key, span)
