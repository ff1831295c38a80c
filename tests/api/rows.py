"""Rows as the services would have written them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any
from uuid import UUID

import psycopg
from psycopg import sql

from services.kernel.keys import API_KEYS, new_secret, sha256
from tests.schema.sessions import value

STATS = (
    "status",
    "earnings_day",
    "earnings_total",
    "uptime_percent",
    "tokens_per_sec",
    "jobs_day",
    "active_model",
    "voting_weight",
    "source",
)


def today() -> date:
    """The UTC date that it is."""
    return datetime.now(UTC).date()


def ago(**parts: float) -> datetime:
    """The moment so long ago."""
    return datetime.now(UTC) - timedelta(**parts)


@dataclass
class Rows:
    """Writes rows through a superuser's session that commits each statement."""

    connection: psycopg.Connection

    def insert(self, table: str, **columns: Any) -> None:
        self.connection.execute(
            sql.SQL("INSERT INTO {} ({}) VALUES ({})").format(
                sql.Identifier(table),
                sql.SQL(", ").join(map(sql.Identifier, columns)),
                sql.SQL(", ").join(sql.Placeholder() * len(columns)),
            ),
            list(columns.values()),
        )

    def node(
        self,
        identifier: str,
        *,
        identifier_type: str = "wallet",
        age: float | None = None,
        read: bool = True,
        **columns: Any,
    ) -> UUID:
        """A node; with `read` a row of stats too, `age` seconds old (None: it was never read)."""
        stats = {name: columns.pop(name) for name in STATS if name in columns}
        self.insert("nodes", identifier=identifier, identifier_type=identifier_type, **columns)
        node_id = self.id_of(identifier)
        if read:
            fetched_at = None if age is None else ago(seconds=age)
            self.insert("node_stats_cache", node_id=node_id, fetched_at=fetched_at, **stats)
        return node_id

    def id_of(self, identifier: str) -> UUID:
        found: UUID = value(self.connection, "SELECT id FROM nodes WHERE identifier = %s", (identifier,))
        return found

    def update(self, identifier: str, **columns: Any) -> None:
        """Set columns of the node's stats."""
        self.connection.execute(
            sql.SQL("UPDATE node_stats_cache SET {} WHERE node_id = %s").format(
                sql.SQL(", ").join(sql.SQL("{} = %s").format(sql.Identifier(name)) for name in columns)
            ),
            [*columns.values(), self.id_of(identifier)],
        )

    def history(self, identifier: str, days: Mapping[date, str], source: str = "gonka_api") -> None:
        """What it earned: date → GNK."""
        node_id = self.id_of(identifier)
        for day, amount in days.items():
            self.insert("earnings_history", node_id=node_id, date=day, earnings_gnk=amount, source=source)

    def refresh_sums(self) -> None:
        self.connection.execute("SELECT earnings_refresh()")

    def settlement(self, epoch: int, settled_at: datetime, *, exact: bool = True) -> None:
        self.insert(
            "epoch_settlement",
            epoch=epoch,
            settled_at=settled_at,
            exact=exact,
            observed_at=settled_at,
            source="gonka_api",
        )

    def basis(self, identifier: str, basis: str = "epoch") -> None:
        self.insert("earnings_node", node_id=self.id_of(identifier), basis=basis)

    def report(
        self, identifier: str, source: str, epoch: int, ngonka: int, *, before: Sequence[int] = (), **columns: Any
    ) -> None:
        """What a source says of an epoch, and the amounts it said `before`."""
        row: dict[str, Any] = {
            "node_id": self.id_of(identifier),
            "source": source,
            "kind": "epoch",
            "period": epoch,
            "final": True,
            "observed_at": datetime(2026, 1, 1, tzinfo=UTC),
            **columns,
        }
        self.insert("earnings_ledger", amount_ngonka=ngonka, **row)
        row.pop("method", None)
        for amount in before:
            self.insert("earnings_ledger_version", amount_ngonka=amount, **row)

    def order(self, **orders: int) -> None:
        """The order of sources for earnings."""
        for source, number in orders.items():
            self.insert("earnings_source_order", source=source, earnings_order=number)

    def source(self, name: str, **columns: Any) -> None:
        self.insert("tracker_sources", name=name, **columns)

    def user(self, email: str, **columns: Any) -> UUID:
        self.insert("users", email=email, **columns)
        found: UUID = value(self.connection, "SELECT id FROM users WHERE email = %s", (email,))
        return found

    def assign(self, user_id: UUID, identifier: str, **columns: Any) -> None:
        self.insert("user_nodes", user_id=user_id, node_id=self.id_of(identifier), **columns)

    def key(self, *scopes: str, name: str = "test", user_id: UUID | None = None, **columns: Any) -> str:
        """A key, as its holder sends it."""
        secret = new_secret()
        key_id: UUID = value(
            self.connection,
            "INSERT INTO api_keys (name, secret_sha256, scopes, user_id) VALUES (%s, %s, %s, %s) RETURNING id",
            (name, sha256(secret), list(scopes), user_id),
        )
        if columns:
            self.connection.execute(
                sql.SQL("UPDATE api_keys SET {} WHERE id = %s").format(
                    sql.SQL(", ").join(sql.SQL("{} = %s").format(sql.Identifier(each)) for each in columns)
                ),
                [*columns.values(), key_id],
            )
        return API_KEYS.text(key_id, secret)


def bearer(key: str) -> dict[str, str]:
    """The header with which a key is sent."""
    return {"Authorization": f"Bearer {key}"}
