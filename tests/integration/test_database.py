"""The kernel's database: transactions over connections that die."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from random import Random

import asyncpg
import pytest

from services.embedded.ports import free_port
from services.kernel.database import Database
from tests.chaos.proxy import BOTH, Proxy, Weather
from tests.integration.pipeline import Pipeline

_STATEMENT_SECONDS = 1
_CLIENT_SECONDS = _STATEMENT_SECONDS + 5


@pytest.fixture
async def proxy(pipeline: Pipeline) -> AsyncIterator[Proxy]:
    proxy = Proxy(free_port(), Random(1))
    proxy.target_port = pipeline.database.port
    await proxy.start()
    yield proxy
    await proxy.stop()


@pytest.fixture
async def database(pipeline: Pipeline, proxy: Proxy) -> AsyncIterator[Database]:
    settings = pipeline.database.model_copy(update={"port": proxy.port})
    database = Database(settings, application="test", size=1, statement_seconds=_STATEMENT_SECONDS)
    async with database:
        yield database


async def test_a_transaction_on_a_silent_connection_waits_once_and_the_next_one_gets_a_new_connection(
    database: Database, proxy: Proxy
) -> None:
    async def interrupted() -> None:
        async with database.transaction() as connection:
            await connection.fetchval("SELECT 1")
            proxy.change(Weather(swallow=BOTH))
            await connection.fetchval("SELECT 2")

    began = time.monotonic()
    with pytest.raises(TimeoutError):
        await interrupted()
    assert time.monotonic() - began < 1.5 * _CLIENT_SECONDS, "the rollback did not wait as long again"
    proxy.heal(reset_dead=False)
    async with database.transaction() as connection:
        assert await connection.fetchval("SELECT 3") == 3


@pytest.mark.parametrize("error", [ZeroDivisionError, asyncio.CancelledError])
async def test_what_a_block_raises_comes_out_and_nothing_of_it_is_kept(
    database: Database, kept: None, error: type[BaseException]
) -> None:
    with pytest.raises(error):
        await _insert(database, "(1)", error)
    assert await _rows(database) == 0


async def test_what_a_commit_refuses_comes_out_and_nothing_of_it_is_kept(database: Database, kept: None) -> None:
    with pytest.raises(asyncpg.UniqueViolationError):
        await _insert(database, "(2), (2)")
    assert await _rows(database) == 0


@pytest.fixture
async def kept(database: Database) -> None:
    async with database.transaction() as connection:
        await connection.execute("DROP TABLE IF EXISTS kept")
        await connection.execute("CREATE TABLE kept (a integer UNIQUE DEFERRABLE INITIALLY DEFERRED)")


async def _insert(database: Database, values: str, error: type[BaseException] | None = None) -> None:
    async with database.transaction() as connection:
        await connection.execute(f"INSERT INTO kept VALUES {values}")
        if error is not None:
            raise error


async def _rows(database: Database) -> int:
    async with database.transaction() as connection:
        found: int = await connection.fetchval("SELECT count(*) FROM kept")
        return found


async def test_what_is_remembered_of_rows_is_forgotten_with_a_failed_transaction_or_another_server(
    database: Database, proxy: Proxy
) -> None:
    async def lookup() -> None:
        async with database.transaction() as connection:
            await connection.fetchval("SELECT 1")

    await lookup()
    database.remember("ids", {"alice": 1})
    await lookup()
    assert database.remembered("ids") == {"alice": 1}
    with pytest.raises(asyncpg.DivisionByZeroError):
        async with database.transaction() as connection:
            await connection.fetchval("SELECT 1 / 0")
    assert database.remembered("ids") == {}
    database.remember("ids", {"alice": 1})
    proxy.cut_all()
    while database.remembered("ids"):  # a connection that was cut is noticed at its next use, and replaced
        with contextlib.suppress(asyncpg.PostgresConnectionError, asyncpg.InterfaceError, OSError):
            await lookup()
