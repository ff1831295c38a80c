"""Trying, as a role, everything that can be done to every relation of a database."""

from collections.abc import Iterator
from typing import NamedTuple

import psycopg
from psycopg import errors, sql


class Deed(NamedTuple):
    """What is done to a relation, or to one column of it."""

    relation: str
    action: str
    column: str = ""


_TO_A_COLUMN = {
    "SELECT": "SELECT {column} FROM {relation} WHERE false",
    "INSERT": "INSERT INTO {relation} ({column}) VALUES (DEFAULT)",
    "UPDATE": "UPDATE {relation} SET {column} = DEFAULT WHERE false",
}
_TO_ALL_OF_IT = {
    "DELETE": "DELETE FROM {relation} WHERE false",
    "TRUNCATE": "TRUNCATE {relation}",
    "TRIGGER": "CREATE TRIGGER another BEFORE INSERT ON {relation} EXECUTE FUNCTION earnings_note_changed()",
    "ALTER": "ALTER TABLE {relation} RENAME TO another",
    "DROP": "DROP TABLE {relation}",
}
_TO_A_SEQUENCE = {
    "USE": "SELECT nextval({name}::regclass)",
    "SET": "SELECT setval({name}::regclass, 1)",
    "DROP": "DROP SEQUENCE {relation}",
}

_NOBODY_CAN = (
    errors.WrongObjectType,  # views are not truncated
    errors.ObjectNotInPrerequisiteState,  # nor is one of several tables written to
    errors.GeneratedAlways,
)

_RELATIONS = """
SELECT relname, relkind::text, array(
    SELECT attname::text FROM pg_attribute WHERE attrelid = pg_class.oid AND attnum > 0 AND NOT attisdropped
    ORDER BY attnum
) FROM pg_class WHERE relnamespace = current_schema()::regnamespace AND relkind IN ('r', 'p', 'v', 'm', 'f', 'S')
ORDER BY relname
"""


def permitted(connection: psycopg.Connection, role: str) -> set[Deed]:
    """Every deed that the database does not refuse this role; each is tried, and taken back."""
    with connection.transaction(force_rollback=True):
        connection.execute("SET LOCAL client_min_messages = error")
        every = list(_every(connection))
        connection.execute(sql.SQL("SET LOCAL ROLE {}").format(sql.Identifier(role)))
        return {deed for deed, statement in every if _is_permitted(connection, statement)}


def columns_of(connection: psycopg.Connection) -> dict[str, list[str]]:
    """The columns of each relation."""
    return {relation: columns for relation, _, columns in connection.execute(_RELATIONS).fetchall()}


def _every(connection: psycopg.Connection) -> Iterator[tuple[Deed, sql.Composed]]:
    for relation, kind, columns in connection.execute(_RELATIONS).fetchall():
        place = {"relation": sql.Identifier(relation), "name": sql.Literal(f'"{relation}"')}
        for action, statement in (_TO_A_SEQUENCE if kind == "S" else _TO_ALL_OF_IT).items():
            yield Deed(relation, action), sql.SQL(statement).format(**place)
        for column in columns:
            for action in _TO_A_COLUMN if kind != "S" else ("SELECT",):
                statement = _TO_A_COLUMN[action]
                yield Deed(relation, action, column), sql.SQL(statement).format(**place, column=sql.Identifier(column))


def _is_permitted(connection: psycopg.Connection, statement: sql.Composed) -> bool:
    try:
        with connection.transaction(force_rollback=True):
            connection.execute(statement)
    except (errors.InsufficientPrivilege, *_NOBODY_CAN):
        return False
    except psycopg.Error:  # it came as far as the values
        return True
    return True
