"""Whether the ledger equals what the simulated network paid, and the history equals the ledger rounded once."""

from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Final

import httpx

from services.kernel.database import OwnConnection
from services.kernel.money import gnk

LEDGER: Final = """
SELECT period AS epoch, identifier, amount_ngonka::text AS amount
FROM earnings_ledger JOIN nodes ON id = node_id
WHERE source = $1 AND kind = 'epoch' AND final
"""
HISTORY: Final = """
SELECT identifier, date, earnings_gnk FROM earnings_history JOIN nodes ON nodes.id = node_id
"""


@dataclass(frozen=True)
class Proof:
    """Sums in ngonka over every settled epoch, and what differs."""

    epochs: int
    paid: int
    in_ledger: int
    history_rows: int
    in_history_gnk: Decimal
    wrong_payments: int
    wrong_history: int

    @property
    def holds(self) -> bool:
        """Whether nothing differs."""
        return self.epochs > 0 and not self.wrong_payments and not self.wrong_history


async def compare(
    connection: OwnConnection,
    client: httpx.AsyncClient,
    *,
    first_epoch: int,
    last_epoch: int,
    source: str = "gonka_api",
) -> Proof:
    """Compare row by row: payment by payment with the ledger, and each history row with its payments' sum.

    Expected values come from the simulator alone: amounts as the chain states them at this moment, and the settlement
    times that give the UTC dates.
    """
    span = {"from_epoch": first_epoch, "to_epoch": last_epoch}
    reply = await client.get("/_simulator/payments", params=span | {"published": "true"})
    payments: list[dict[str, Any]] = reply.raise_for_status().json()
    paid = {(row["epoch"], row["address"]): int(row["amount_ngonka"]) for row in payments}
    days: dict[tuple[str, str], int] = {}
    for row in payments:
        key = row["address"], row["settled_at"][:10]
        days[key] = days.get(key, 0) + int(row["amount_ngonka"])
    ledger = {
        (row["epoch"], row["identifier"]): int(row["amount"])
        for row in await connection.fetch(LEDGER, source)
        if first_epoch <= row["epoch"] <= last_epoch
    }
    history = {
        (row["identifier"], row["date"].isoformat()): row["earnings_gnk"] for row in await connection.fetch(HISTORY)
    }
    return Proof(
        epochs=len({epoch for epoch, _ in paid}),
        paid=sum(paid.values()),
        in_ledger=sum(ledger.values()),
        history_rows=len(history),
        in_history_gnk=sum(history.values(), Decimal(0)),
        wrong_payments=sum(paid.get(key) != ledger.get(key) for key in paid.keys() | ledger.keys()),
        wrong_history=sum(
            history.get(key) != (gnk(days[key]) if key in days else None) for key in days.keys() | history.keys()
        ),
    )
