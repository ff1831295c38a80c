"""Why a number is what it is: the reports behind a node's amount of a date, which count, and what was said before."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from typing import Final, NamedTuple
from uuid import UUID

from asyncpg import Record

from services.earnings.ledger import DayAmount, Fact, date_of, project
from services.earnings.projection import DEFAULT_ORDER, FACTS_OF_NODES, SOURCE_ORDER, facts_of
from services.kernel.database import Connection

FIND_NODE: Final = """
SELECT id, identifier, basis FROM nodes LEFT JOIN earnings_node ON node_id = id WHERE identifier = $1
"""
HISTORY_ROW: Final = "SELECT earnings_gnk, source FROM earnings_history WHERE node_id = $1 AND date = $2"
EPOCHS_OF_DATE: Final = """
SELECT epoch, settled_at, exact, source, observed_at FROM epoch_settlement
WHERE (settled_at AT TIME ZONE 'UTC')::date = $1 ORDER BY epoch
"""
# Of a lifetime counter the date before counts too: the newest one below it.
ROWS_OF_DATE: Final = """
SELECT source, kind, period, amount_ngonka, work_ngonka, reward_ngonka, final, claimed, observed_at
FROM earnings_ledger AS ledger
WHERE node_id = $1 AND (
    (kind = 'epoch' AND period = ANY($2::integer[]))
    OR (kind IN ('day', 'total') AND period = $3)
    OR (kind = 'total' AND period = (
        SELECT max(period) FROM earnings_ledger AS before
        WHERE before.node_id = $1 AND before.kind = 'total' AND before.source = ledger.source AND before.period < $3))
)
ORDER BY kind, period, source
"""
VERSIONS: Final = """
SELECT amount_ngonka, work_ngonka, reward_ngonka, final, claimed, observed_at, recorded_at FROM earnings_version
WHERE node_id = $1 AND source = $2 AND kind = $3 AND period = $4 ORDER BY observed_at, recorded_at
"""


class Said(NamedTuple):
    """One version of a report: amounts in ngonka; when the source first said so, and when it was written here."""

    amount: int
    work: int | None
    reward: int | None
    final: bool
    claimed: bool | None
    observed_at: datetime
    recorded_at: datetime


class Settled(NamedTuple):
    """When an epoch settled, and who said so. Not exact: interpolated between blocks whose times are known."""

    epoch: int
    settled_at: datetime
    exact: bool
    source: str
    observed_at: datetime


@dataclass(frozen=True)
class Entry:
    """A row of the ledger that could bear on the date, whether it counts, and why (not)."""

    kind: str
    period: int
    source: str
    amount: int
    work: int | None
    reward: int | None
    final: bool
    claimed: bool | None
    observed_at: datetime
    counts: bool
    why: str
    versions: tuple[Said, ...]


@dataclass(frozen=True)
class Explanation:
    """What stands behind a node's amount of a date. `expected` is what the ledger gives, `held` what the table says."""

    identifier: str
    day: date
    basis: str | None
    held: Decimal | None
    held_source: str | None
    expected: DayAmount | None
    settled: tuple[Settled, ...]
    entries: tuple[Entry, ...]


async def explain(connection: Connection, identifier: str, day: date) -> Explanation | None:
    """Explain the node's amount of the UTC date; None when there is no such node."""
    node = await connection.fetchrow(FIND_NODE, identifier)
    if node is None:
        return None
    order = {row["source"]: row["earnings_order"] for row in await connection.fetch(SOURCE_ORDER)}
    facts = facts_of(await connection.fetch(FACTS_OF_NODES, [node["id"]]))
    projected = project(facts, lambda source: order.get(source, DEFAULT_ORDER))
    held = await connection.fetchrow(HISTORY_ROW, node["id"], day)
    settled = tuple(Settled(*row) for row in await connection.fetch(EPOCHS_OF_DATE, day))
    number = int(f"{day:%Y%m%d}")
    rows = await connection.fetch(ROWS_OF_DATE, node["id"], [each.epoch for each in settled], number)
    entries = []
    rules = _Rules(node["basis"], order, facts)
    for row in rows:
        counts, why = rules.verdict(row, rows)
        versions = await connection.fetch(VERSIONS, node["id"], row["source"], row["kind"], row["period"])
        entries.append(
            Entry(
                kind=row["kind"],
                period=row["period"],
                source=row["source"],
                amount=int(row["amount_ngonka"]),
                work=_whole(row["work_ngonka"]),
                reward=_whole(row["reward_ngonka"]),
                final=row["final"],
                claimed=row["claimed"],
                observed_at=row["observed_at"],
                counts=counts,
                why=why,
                versions=tuple(Said(int(v[0]), _whole(v[1]), _whole(v[2]), v[3], v[4], v[5], v[6]) for v in versions),
            )
        )
    return Explanation(
        identifier=node["identifier"],
        day=day,
        basis=node["basis"],
        held=None if held is None else held["earnings_gnk"],
        held_source=None if held is None else held["source"],
        expected=projected.get((node["id"], day)),
        settled=settled,
        entries=tuple(entries),
    )


class _Rules(NamedTuple):
    """What decides which of a node's reports count."""

    basis: str | None
    order: Mapping[str, int]
    facts: Sequence[Fact[UUID]]

    def first(self, sources: Iterable[str]) -> str | None:
        """The source that wins among these."""
        return min(sources, key=lambda source: (self.order.get(source, DEFAULT_ORDER), source), default=None)

    def verdict(self, row: Record, rows: Sequence[Record]) -> tuple[bool, str]:
        """Whether this row of the ledger counts for the date, and why (not); `rows` are all that bear on it."""
        if row["kind"] != self.basis:
            return False, f"the node's history rests on {_BASES.get(self.basis or '', 'nothing yet')}"
        if row["kind"] == "total":
            winner = self.first(fact.source for fact in self.facts if fact.kind == "total")
            said = "the growth of the first source's counter"
        elif not row["final"]:
            return False, "not final: an estimate"
        else:
            period = row["kind"], row["period"]
            winner = self.first(
                each["source"] for each in rows if (each["kind"], each["period"]) == period and each["final"]
            )
            said = "the first source's final amount"
        if row["source"] != winner:
            return False, f"{winner} comes before it in the order of sources"
        return True, said


_BASES = {"epoch": "settled epochs", "day": "its sources' final day counters", "total": "a lifetime counter"}


def _whole(value: Decimal | None) -> int | None:
    return None if value is None else int(value)


def period_name(kind: str, period: int) -> str:
    """The period as a person names it: 'epoch 51', '2026-03-01'."""
    return f"epoch {period}" if kind == "epoch" else date_of(period).isoformat()
