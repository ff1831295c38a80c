"""Databases for the schema's tests: each test has its own, in one PostgreSQL."""

import itertools
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest
from psycopg import sql
from pydantic import SecretStr

from services.embedded.postgres import DATABASE, USER
from services.embedded.servers import Endpoints
from services.kernel import migrations
from services.kernel.schema_version import FOLDER
from services.kernel.settings import DatabaseSettings
from tests.schema import legacy
from tests.schema.sessions import session

_numbers = itertools.count(1)


@pytest.fixture(scope="session")
def server(runtime: Endpoints) -> DatabaseSettings:
    """A PostgreSQL in which the tests' user is a superuser."""
    return DatabaseSettings(
        host="127.0.0.1",
        port=runtime.postgres_port,
        username=USER,
        password=SecretStr(runtime.postgres_password),
        database=DATABASE,
    )


NewDatabase = Callable[..., DatabaseSettings]


@pytest.fixture(scope="session")
def new_database(server: DatabaseSettings) -> Iterator[NewDatabase]:
    """Creates an empty database, owned by `owner` where one is given, and gives its settings."""
    created = []

    def create(owner: DatabaseSettings | None = None) -> DatabaseSettings:
        settings = (owner or server).model_copy(update={"database": f"schema_{os.getpid()}_{next(_numbers)}"})
        with session(server) as connection:
            connection.execute(
                sql.SQL("CREATE DATABASE {} OWNER {}").format(
                    sql.Identifier(settings.database), sql.Identifier(settings.username)
                )
            )
        created.append(settings.database)
        return settings

    yield create
    with session(server) as connection:
        for name in created:
            connection.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))


NewLogin = Callable[[str], DatabaseSettings]


@pytest.fixture
def new_login(server: DatabaseSettings) -> Iterator[NewLogin]:
    """Creates a login user that is no superuser, with the given attributes."""
    created = []

    def create(attributes: str) -> DatabaseSettings:
        name = f"login{os.getpid()}_{next(_numbers)}"
        with session(server) as connection:
            connection.execute(f"CREATE ROLE {name} LOGIN PASSWORD 'p@ss/w:rd' {attributes}".encode())
        created.append(name)
        return server.model_copy(update={"username": name, "password": SecretStr("p@ss/w:rd")})

    yield create
    with session(server) as connection:
        for name in created:
            for (database,) in connection.execute(
                "SELECT datname FROM pg_database WHERE pg_get_userbyid(datdba) = %s", (name,)
            ).fetchall():
                with session(server.model_copy(update={"database": database})) as inside:
                    inside.execute(f"REASSIGN OWNED BY {name} TO CURRENT_USER; DROP OWNED BY {name}".encode())
            connection.execute(f"DROP ROLE {name}".encode())


@pytest.fixture
def database(new_database: NewDatabase) -> DatabaseSettings:
    """An empty database."""
    return new_database()


@pytest.fixture
def legacy_database(database: DatabaseSettings) -> DatabaseSettings:
    """A database as the portal left it: its three tables, with rows."""
    with session(database) as connection:
        connection.execute(legacy.TABLES)
        connection.execute(legacy.ROWS)
    return database


@pytest.fixture
def migrated(database: DatabaseSettings) -> Iterator[psycopg.Connection]:
    """A session in a database with every migration."""
    migrations.apply(database)
    with session(database) as connection:
        yield connection


@pytest.fixture(scope="session")
def history_database(new_database: NewDatabase) -> DatabaseSettings:
    """A migrated database, empty at the start of each test."""
    database = new_database()
    migrations.apply(database)
    return database


@pytest.fixture
def history(history_database: DatabaseSettings) -> Iterator[psycopg.Connection]:
    """A session whose writes are taken back at the test's end, in a zone far from UTC: dates do not depend on it."""
    with session(history_database) as connection, connection.transaction(force_rollback=True):
        connection.execute("SET LOCAL timezone = 'Pacific/Chatham'")
        yield connection


@pytest.fixture
def up_to(tmp_path: Path) -> Callable[[int], Path]:
    """A folder with the first `number` migrations."""

    def copy(number: int) -> Path:
        folder = tmp_path / f"first-{number}"
        folder.mkdir(exist_ok=True)
        for path in FOLDER.glob("*.sql"):
            if int(path.name[:4]) <= number:
                shutil.copy(path, folder)
        return folder

    return copy
