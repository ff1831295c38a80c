"""A database and the workers on it, for all examples of a test: what is slow to make is made once."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import AsyncExitStack
from types import TracebackType
from typing import Any, Final, Self, TypeVar

import asyncpg

from services.kernel.database import OwnConnection, connect_arguments
from services.kernel.settings import DatabaseSettings
from tests.property.model import Tables
from tests.property.rows import EMPTY, read_tables
from tests.property.turns import Run, SteppedDatabase, take_turns

T = TypeVar("T")

WORKERS: Final = 3

# The server is not killed here, so that commits need not reach the disk. A deadlock is found soon. Ids of nodes, by
# which rows are ordered and locked, look random, but are the same whenever an example is repeated.
_PREPARE = """
CREATE SEQUENCE drawn_ids;
CREATE OR REPLACE FUNCTION uuid_generate_v4() RETURNS uuid LANGUAGE sql VOLATILE SECURITY DEFINER
    AS 'SELECT md5(nextval(''drawn_ids'')::text)::uuid';
DO $$ BEGIN
    EXECUTE format('ALTER DATABASE %I SET synchronous_commit = off', current_database());
    EXECUTE format('ALTER DATABASE %I SET deadlock_timeout = ''50ms''', current_database());
END $$
"""


class Bench:
    """Workers of both services on one database, and an event loop that outlives the examples."""

    def __init__(self, settings: DatabaseSettings) -> None:
        self._settings = settings
        self._runner = asyncio.Runner()
        self._open = AsyncExitStack()
        self._workers: dict[tuple[str, int], SteppedDatabase] = {}
        self._watch: OwnConnection

    def __enter__(self) -> Self:
        self.run(self._start())
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.run(self._open.aclose())
        self._runner.close()

    async def _start(self) -> None:
        self._watch = await asyncpg.connect(**connect_arguments(self._settings))
        self._open.push_async_callback(self._watch.close)
        await self._watch.execute(_PREPARE)
        for service in ("cache", "earnings"):
            for number in range(WORKERS):
                self._workers[service, number] = await self._open.enter_async_context(
                    SteppedDatabase(
                        self._settings, application=f"{service}-{number}", role=f"minegnk_{service}", size=1
                    )
                )

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Do this on the bench's loop."""
        return self._runner.run(work)

    async def empty(self) -> None:
        """Forget every row."""
        await self._watch.execute(EMPTY)
        for database in self._workers.values():
            database.forget()  # ids of nodes are the same in each example

    async def tables(self) -> Tables:
        """All rows that the services have written."""
        return await read_tables(self._watch)

    def task(
        self, service: str, worker: int, work: Callable[[SteppedDatabase], Awaitable[object]], cut: int | None = None
    ) -> Run:
        """A worker's next doing, to be given to `take_turns`."""
        database = self._workers[service, worker]
        return Run(database, lambda: work(database), cut)

    async def alone(self, service: str, work: Callable[[SteppedDatabase], Awaitable[object]]) -> None:
        """Let the service's first worker do this while nobody else does anything."""
        await self.take_turns([self.task(service, 0, work)], [0])

    async def take_turns(self, runs: list[Run], turns: list[int]) -> None:
        """Do all of them, statement by statement; see turns.take_turns."""
        await take_turns(runs, turns, self._watch)
