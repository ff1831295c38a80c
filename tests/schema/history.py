"""Nodes, their users and what they earned, for the tests of sums and trends."""

from collections.abc import Mapping
from decimal import Decimal
from typing import Any

import psycopg

from tests.schema.sessions import value


def add_node(connection: psycopg.Connection, name: str, amounts: Mapping[str, str], **groups: str | None) -> None:
    """A node with amounts (date → GNK), and its `gpu_type` and `region`."""
    connection.execute(
        "INSERT INTO nodes (identifier, identifier_type, gpu_type, region) VALUES (%s, 'wallet', %s, %s)",
        (name, groups.get("gpu_type"), groups.get("region")),
    )
    for day, amount in amounts.items():
        connection.execute(
            "INSERT INTO earnings_history (node_id, date, earnings_gnk) SELECT id, %s, %s FROM nodes "
            "WHERE identifier = %s",
            (day, amount, name),
        )


def add_user(connection: psycopg.Connection, email: str, *nodes: str) -> str:
    """A user of these nodes; returns the key of their sums."""
    identity = value(connection, "INSERT INTO users (email) VALUES (%s) RETURNING id", (email,))
    connection.execute(
        "INSERT INTO user_nodes (user_id, node_id) SELECT %s, id FROM nodes WHERE identifier = ANY (%s)",
        (identity, list(nodes)),
    )
    return str(identity)


def text_rows(connection: psycopg.Connection, query: str, *parameters: Any) -> list[tuple[str, ...]]:
    """The rows as a person would write them: `-` for NULL, every decimal place."""
    return [tuple(map(_text, row)) for row in connection.execute(query.encode(), parameters)]


def _text(item: object) -> str:
    if item is None:
        return "-"
    return f"{item:f}" if isinstance(item, Decimal) else str(item)
