"""PostgreSQL: a pool of connections that a service owns."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from typing import Any, TypeAlias
from urllib.parse import urlencode

import asyncpg
from asyncpg.pool import PoolConnectionProxy
from mode import Service

from services.kernel.errors import ConfigurationError, UnavailableError
from services.kernel.settings import DatabaseSettings
from services.kernel.tls import postgresql_refusal

# Quoted: asyncpg's classes take parameters only in its type stubs.
OwnConnection: TypeAlias = "asyncpg.Connection[asyncpg.Record]"
Connection: TypeAlias = "OwnConnection | PoolConnectionProxy[asyncpg.Record]"
Pool: TypeAlias = "asyncpg.Pool[asyncpg.Record]"

_CLOSE_SECONDS = 1.0
_CHECK_SECONDS = 10.0
_REMEMBERED_ROWS = 200_000


class Database(Service):
    """A pool of connections; `role` is taken on each of them (SET ROLE), so that a service can do only its own.

    The pool is made at the first use and whenever there is none, so that a service starts, and waits, without its
    database too.
    """

    mundane_level = "debug"

    def __init__(
        self,
        settings: DatabaseSettings,
        *,
        application: str,
        role: str | None = None,
        size: int = 8,  # two batches in three lanes each, and two for what is done beside them
        statement_seconds: int = 30,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self._statement_seconds = statement_seconds
        self._settings = settings
        self._application = application
        self._role = role
        self._size = size
        self._pool: Pool | None = None
        self._opening = asyncio.Lock()
        self._remembered: dict[str, dict[Any, Any]] = {}

    async def on_stop(self) -> None:
        """Close the connections; what does not close in time is cut."""
        if self._pool is not None:
            try:
                await asyncio.wait_for(self._pool.close(), timeout=_CLOSE_SECONDS)
            except TimeoutError:
                self._pool.terminate()

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Connection]:
        """A connection inside a transaction that commits at the end of the block."""
        async with self.connection() as connection:
            transaction = connection.transaction()
            try:
                await transaction.start()
                yield connection
                await transaction.commit()
            except TimeoutError:
                # PostgreSQL's own limit is a shorter one: nobody is there, and a rollback would wait for him as long.
                self.forget()
                connection.terminate()
                raise
            except BaseException:
                self.forget()
                # Where it never began, has ended, or lost its connection, there is nothing to roll back.
                with suppress(asyncpg.InterfaceError, asyncpg.PostgresConnectionError, OSError):
                    await transaction.rollback()
                raise

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[Connection]:
        """A connection from the pool."""
        pool = await self._open()
        async with pool.acquire(timeout=self._statement_seconds) as connection:
            yield connection

    def remembered(self, what: str) -> Mapping[Any, Any]:
        """What `remember` was told of this kind; nothing again whenever it may not be so any more.

        That is after a transaction that failed, and when a connection is opened: behind it may be another server, one
        that was restored from a backup or took over without the last commits.
        """
        return self._remembered.setdefault(what, {})

    def remember(self, what: str, rows: Mapping[Any, Any]) -> None:
        """Note what committed rows hold, to spare looking it up: only what cannot change, or only grows."""
        held = self._remembered.setdefault(what, {})
        if len(held) + len(rows) > _REMEMBERED_ROWS:
            held = self._remembered[what] = {}  # another one: who was given the old one may still look into it
        held.update(rows)

    def forget(self) -> None:
        """Remember nothing: what the tables hold may be something else now."""
        self._remembered.clear()

    async def _open(self) -> Pool:
        async with self._opening:
            if self._pool is None:
                self._pool = await asyncpg.create_pool(
                    **connect_arguments(self._settings),
                    min_size=0,
                    max_size=self._size,
                    command_timeout=self._statement_seconds + 5,
                    server_settings={
                        "application_name": self._application,
                        "timezone": "UTC",
                        "statement_timeout": f"{self._statement_seconds}s",
                        "idle_in_transaction_session_timeout": "60s",
                    },
                    init=self._take_role,
                    # RESET ALL of the default reset would drop the role; transactions leave nothing else behind.
                    reset=_reset_nothing,
                )
            return self._pool

    async def _take_role(self, connection: Connection) -> None:
        self.forget()
        if self._role is not None and await connection.fetchval(_MAY_TAKE_ROLE, self._role):
            await connection.execute(f'SET ROLE "{self._role}"')


_MAY_TAKE_ROLE = """
SELECT EXISTS (SELECT FROM pg_roles WHERE rolname = $1 AND pg_has_role(current_user, oid, 'SET'))
"""


async def _reset_nothing(_: Connection) -> None:
    pass


def connect_arguments(settings: DatabaseSettings) -> dict[str, Any]:
    """The settings as asyncpg's connect and create_pool take them."""
    return {
        "host": settings.host,
        "port": settings.port,
        "user": settings.username,
        "password": settings.password.get_secret_value(),
        "database": settings.database,
        # As a URL, asyncpg treats what concerns TLS as libpq does.
        "dsn": f"postgresql://?{urlencode(settings.libpq_tls)}",
        "timeout": 10,
    }


async def connect(settings: DatabaseSettings) -> OwnConnection:
    """One connection, for a command. Raises UnavailableError with the sentence that says what to do."""
    try:
        return await asyncpg.connect(**connect_arguments(settings))
    except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
        raise unavailable(settings, error) from None


async def check_migrated(settings: DatabaseSettings, relation: str = "earnings_ledger") -> None:
    """Raises UnavailableError where PostgreSQL does not answer, ConfigurationError where `relation` is missing."""
    connection = await connect(settings)
    try:
        found = await connection.fetchval("SELECT to_regclass($1)::text", relation, timeout=_CHECK_SECONDS)
        await connection.close(timeout=_CLOSE_SECONDS)
    except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError) as error:
        raise unavailable(settings, error) from None
    finally:
        connection.terminate()
    if found is None:
        raise ConfigurationError(f"The database has no {relation} yet: run `minegnk migrate`.")


def unavailable(settings: DatabaseSettings, error: Exception) -> UnavailableError:
    """The sentence for a PostgreSQL that cannot be used."""
    place = f"{settings.host}:{settings.port}"
    if reason := postgresql_refusal(str(error)):
        return UnavailableError(f"PostgreSQL at {place} {reason}.")
    match getattr(error, "sqlstate", None):
        case "28P01" | "28000":
            return UnavailableError(
                f"PostgreSQL at {place} refused the user {settings.username!r}: check DB_USERNAME and DB_PASSWORD."
            )
        case "3D000":
            return UnavailableError(
                f"PostgreSQL at {place} has no database {settings.database!r}: create it, or set DB_DATABASE."
            )
    return UnavailableError(f"PostgreSQL at {place} cannot be reached: start it, or set DB_HOST and DB_PORT.")
