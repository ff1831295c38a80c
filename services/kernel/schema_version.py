"""Whether a database has every migration of this version: what a service asks before it starts.

Not through yoyo, which only `minegnk migrate` and its like need to load.
"""

import asyncio
from pathlib import Path
from typing import Final

import asyncpg

from services.kernel import database
from services.kernel.errors import ConfigurationError
from services.kernel.settings import DatabaseSettings

FOLDER: Final = Path(__file__).parents[2] / "migrations"
"""NNNN.name.sql and NNNN.name.rollback.sql: beside the package, in a checkout and in the container image alike."""

_CHECK_SECONDS: Final = 10.0
_APPLIED: Final = "SELECT migration_id FROM _yoyo_migration"


async def check_schema(settings: DatabaseSettings, folder: Path = FOLDER) -> None:
    """Raises ConfigurationError naming a migration that the database lacks, UnavailableError where none answers.

    What the database has besides is no reason: the next version's schema suits this one (migrations/README.md).
    """
    connection = await database.connect(settings)
    try:
        async with asyncio.timeout(_CHECK_SECONDS):
            applied = {row[0] for row in await connection.fetch(_APPLIED)}
            await connection.close()
    except asyncpg.UndefinedTableError:
        raise ConfigurationError("The database has no tables yet: run `minegnk migrate`.") from None
    except asyncpg.InsufficientPrivilegeError:
        # A login user of one service alone: it may not read the list, yet see that there are tables.
        await database.check_migrated(settings)
        return
    except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError) as error:
        raise database.unavailable(settings, error) from None
    finally:
        connection.terminate()
    lacking = sorted(_ids(folder) - applied)
    if lacking:
        more = f" and {len(lacking) - 1} more" if len(lacking) > 1 else ""
        raise ConfigurationError(f"The database lacks the migration {lacking[0]}{more}: run `minegnk migrate`.")


def _ids(folder: Path) -> set[str]:
    return {path.stem for path in folder.glob("*.sql") if not path.name.endswith(".rollback.sql")}
