"""The pipeline of a test module: a migrated database of its own and clean topics."""

import asyncio
import itertools
from collections.abc import AsyncIterator, Callable, Iterator

import psycopg
import pytest
from psycopg import sql
from pydantic import SecretStr

from services.embedded.postgres import USER
from services.embedded.servers import Endpoints
from services.kernel import migrations
from services.kernel.database import Database
from services.kernel.settings import DatabaseSettings, KafkaSettings
from tests.integration.pipeline import Pipeline, recreate_topics

_TEMPLATE = "pipeline_template"

NewDatabase = Callable[[], DatabaseSettings]


@pytest.fixture(scope="package")
def new_database(runtime: Endpoints, admin_dsn: str) -> Iterator[NewDatabase]:
    """Makes a migrated database, as a copy of one that was migrated once (some ten milliseconds each)."""
    numbers = itertools.count(1)
    made = [_TEMPLATE]

    def settings(name: str) -> DatabaseSettings:
        return DatabaseSettings(
            host="127.0.0.1",
            port=runtime.postgres_port,
            username=USER,
            password=SecretStr(runtime.postgres_password),
            database=name,
        )

    with psycopg.connect(admin_dsn, autocommit=True) as connection:
        connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(_TEMPLATE)))
        migrations.apply(settings(_TEMPLATE))

        def make() -> DatabaseSettings:
            name = f"pipeline_{next(numbers)}"
            connection.execute(
                sql.SQL("CREATE DATABASE {} TEMPLATE {}").format(sql.Identifier(name), sql.Identifier(_TEMPLATE))
            )
            made.append(name)
            return settings(name)

        yield make
        for name in reversed(made):
            connection.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name)))


@pytest.fixture(scope="module")
def kafka(runtime: Endpoints) -> KafkaSettings:
    """The session's Kafka."""
    return KafkaSettings.model_validate({"bootstrap_servers": f"127.0.0.1:{runtime.kafka_port}"})


@pytest.fixture(scope="module")
def pipeline(
    new_database: NewDatabase, kafka: KafkaSettings, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Pipeline]:
    """A database and clean topics for this module; every worker it started is stopped at its end."""
    asyncio.run(recreate_topics(kafka))
    pipeline = Pipeline(new_database(), kafka, tmp_path_factory.mktemp("workers"))
    yield pipeline
    pipeline.stop_all()


@pytest.fixture
async def no_rows(pipeline: Pipeline) -> None:
    """Every table is empty when the test begins."""
    await pipeline.empty_tables()


@pytest.fixture
async def cache(pipeline: Pipeline, no_rows: None) -> AsyncIterator[Database]:
    """The database, empty, with the rights of the cache service."""
    database = Database(pipeline.database, application="cache", role="minegnk_cache")
    async with database:
        yield database


@pytest.fixture
async def earnings(pipeline: Pipeline, no_rows: None) -> AsyncIterator[Database]:
    """The database, empty, with the rights of the earnings service."""
    database = Database(pipeline.database, application="earnings", role="minegnk_earnings")
    async with database:
        yield database
