"""Sessions and waiting, for the schema's tests."""

from typing import Any

import psycopg

from services.kernel.settings import DatabaseSettings


def session(settings: DatabaseSettings) -> psycopg.Connection:
    """A session that commits each statement."""
    return psycopg.connect(
        host=settings.host,
        port=settings.port,
        user=settings.username,
        password=settings.password.get_secret_value(),
        dbname=settings.database,
        autocommit=True,
    )


def value(connection: psycopg.Connection, query: str, parameters: tuple[Any, ...] = ()) -> Any:
    """The first column of a query's first row."""
    row = connection.execute(query.encode(), parameters).fetchone()
    assert row is not None
    return row[0]


def environment(settings: DatabaseSettings) -> dict[str, str]:
    """The settings as the variables of the specification."""
    return {
        "DB_HOST": settings.host,
        "DB_PORT": str(settings.port),
        "DB_USERNAME": settings.username,
        "DB_PASSWORD": settings.password.get_secret_value(),
        "DB_DATABASE": settings.database,
    }
