"""Daily sums of GPU types, regions and the fleet: added up again where history changed."""

from typing import Final

from services.kernel.database import Database

# Harmless at any time, from any number of workers: one works, and neither readers nor writers of history wait for it.
REFRESH_TOTALS: Final = "SELECT earnings_refresh()"


async def refresh_totals(database: Database) -> int:
    """Add up the dates whose history changed since the last time; returns how many that were."""
    async with database.transaction() as connection:
        dates: int = await connection.fetchval(REFRESH_TOTALS)
        return dates
