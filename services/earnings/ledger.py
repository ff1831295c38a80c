"""What nodes earned, as pure functions: which report wins, and what the ledger's facts make of each UTC date.

Amounts are whole ngonka. Rounding to GNK happens once, in PostgreSQL, after summing.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from itertools import pairwise
from typing import Generic, NamedTuple, TypeAlias, TypeVar

import msgspec

from services.kernel.events import EarningsKind, EarningsReport, IdentifierType

N = TypeVar("N")  # how a node is named: its id in the database


class LedgerKey(msgspec.Struct, frozen=True, gc=False):
    """The identity of a ledger row. `period` is the epoch's number, or the UTC date as yyyymmdd."""

    identifier: str
    source: str
    kind: EarningsKind
    period: int


class Version(msgspec.Struct, frozen=True, gc=False):
    """What a source said of a period, whenever it said it."""

    final: bool
    amount: int
    work: int | None
    reward: int | None
    claimed: bool | None


class Settlement(NamedTuple):
    """When an epoch settled. Ordered: exact outranks interpolated, then the later observation wins."""

    exact: bool
    observed_at: datetime
    settled_at: datetime
    source: str

    @property
    def day(self) -> date:
        """The UTC date that the epoch's earnings belong to."""
        return utc_date(self.settled_at)


@dataclass(slots=True)
class Reduced:
    """What of a batch can still change the ledger."""

    types: dict[str, IdentifierType] = field(default_factory=dict)
    winners: dict[LedgerKey, EarningsReport] = field(default_factory=dict)
    versions: dict[tuple[LedgerKey, Version], datetime] = field(default_factory=dict)
    """What else was said of the winners' rows, and when first: also the same as the winner says, if earlier."""
    distinct: int = 0  # reports, each counted once: whoever equals in key and rank says the same


def reduce_reports(reports: Iterable[EarningsReport]) -> Reduced:
    """The winning report of each ledger row, and whatever other versions of it were reported."""
    # Grouped first: mostly a row is told of once in a batch, and then there is nothing to compare.
    groups: dict[LedgerKey, list[EarningsReport]] = {}
    for report in reports:
        key = LedgerKey(report.identifier, report.source, report.kind, report.period_number)
        groups.setdefault(key, []).append(report)
    reduced = Reduced()
    for key, group in groups.items():
        winner = group[0] if len(group) == 1 else max(group, key=rank)  # of equals the first
        reduced.types.setdefault(key.identifier, winner.identifier_type)
        reduced.winners[key] = winner
        reduced.distinct += 1
        if len(group) > 1:
            reduced.distinct += len(set(map(rank, group))) - 1
            add_versions(reduced.versions, key, [report for report in group if rank(report) != rank(winner)])
    return reduced


def add_versions(
    versions: dict[tuple[LedgerKey, Version], datetime], key: LedgerKey, reports: Iterable[EarningsReport]
) -> None:
    """Note what these reports of a row say, each version with the time at which it was first observed."""
    for report in reports:
        if report.final or report.kind != "epoch":  # an estimate of the running epoch is no statement to be kept
            version = key, version_of(report)
            first = versions.get(version)
            if first is None or report.observed_at < first:
                versions[version] = report.observed_at


def dating_reports(reports: Iterable[EarningsReport]) -> dict[int, tuple[Settlement, EarningsReport]]:
    """The best settlement that these reports tell of each epoch, and the report that tells it."""
    best: dict[int, tuple[Settlement, EarningsReport]] = {}
    for report in reports:
        if report.settled_at is not None and report.final and report.kind == "epoch":
            proposal = Settlement(report.settled_exact, report.observed_at, report.settled_at, report.source)
            epoch = report.period_number
            known = best.get(epoch)
            if known is None or proposal > known[0]:
                best[epoch] = proposal, report
    return best


Rank: TypeAlias = tuple[bool, datetime, int, tuple[bool, int], tuple[bool, int], tuple[bool, bool], str]


def rank(report: EarningsReport) -> Rank:
    """The order in which reports of one ledger row win: final first, then the later observation, then the amount.

    The rest only makes it total: whatever differs in a column decides, so that no order of arrival can.
    """
    said = version_of(report)
    return (
        said.final,
        report.observed_at,
        said.amount,
        (said.work is not None, said.work or 0),
        (said.reward is not None, said.reward or 0),
        (said.claimed is not None, said.claimed is True),
        report.method or "",
    )


def version_of(report: EarningsReport) -> Version:
    """What the report says, without when it was said."""
    work, reward = report.work_ngonka, report.reward_ngonka
    return Version(
        report.final,
        report.amount,
        None if work is None else int(work),
        None if reward is None else int(reward),
        report.claimed,
    )


class Fact(msgspec.Struct, Generic[N], frozen=True, gc=False):
    """A row of the ledger, as far as projecting needs it. `day` of an epoch is its settlement's, None if unsettled."""

    node: N
    source: str
    kind: EarningsKind
    period: int
    amount: int
    final: bool
    day: date | None


class DayAmount(NamedTuple):
    """What a node earned on a date, in ngonka, and the source it is known from."""

    amount: int
    source: str


def project(facts: Iterable[Fact[N]], order: Callable[[str], int]) -> dict[tuple[N, date], DayAmount]:
    """The exact amount of each node and UTC date that these facts give.

    A node has one basis: its epochs when it has any, else its sources' final day counters, else the differences of a
    lifetime counter. Where several sources report one period, the one with the least (order, name) wins. Epochs and
    days that are not final are never history; of a lifetime counter every value seen counts.
    """
    by_node: dict[N, list[Fact[N]]] = {}
    for fact in facts:
        by_node.setdefault(fact.node, []).append(fact)
    projected: dict[tuple[N, date], DayAmount] = {}
    for node, own in by_node.items():
        for day, amount in _project_node(own, order).items():
            projected[node, day] = amount
    return projected


def basis_of(facts: Iterable[Fact[N]]) -> EarningsKind | None:
    """The kind of fact that a node's history rests on."""
    kinds = {fact.kind for fact in facts if fact.final or fact.kind == "total"}
    return next((kind for kind in _BASES if kind in kinds), None)


_BASES: tuple[EarningsKind, ...] = ("epoch", "day", "total")


def _project_node(facts: list[Fact[N]], order: Callable[[str], int]) -> Mapping[date, DayAmount]:
    basis = basis_of(facts)
    own = sorted((fact for fact in facts if fact.kind == basis), key=lambda f: (order(f.source), f.source, f.period))
    if basis == "total":
        # Counters of different sources cannot be subtracted from each other: the first source's are used.
        return _differences([fact for fact in own if fact.source == own[0].source])
    amounts: dict[date, DayAmount] = {}
    won: set[int] = set()
    for fact in own:  # best source first
        day = fact.day if basis == "epoch" else date_of(fact.period)
        if fact.final and day is not None and fact.period not in won:
            won.add(fact.period)
            held = amounts.get(day)
            amounts[day] = DayAmount(fact.amount, fact.source) if held is None else _add(held, fact)
    return amounts


def _add(held: DayAmount, fact: Fact[N]) -> DayAmount:
    names = sorted({*held.source.split("+"), fact.source})
    return DayAmount(held.amount + fact.amount, "+".join(names))


def _differences(counters: list[Fact[N]]) -> Mapping[date, DayAmount]:
    """What a lifetime counter grew by from one date to the next on which it was seen.

    The first date is where counting starts: what was earned before it is not known to belong to it. After a reset
    (a smaller value) the counter started again from zero.
    """
    return {
        date_of(after.period): DayAmount(
            after.amount - before.amount if after.amount >= before.amount else after.amount, after.source
        )
        for before, after in pairwise(counters)
    }


def date_of(period: int) -> date:
    """The date of a day's or total's period (yyyymmdd)."""
    return date(period // 10_000, period // 100 % 100, period % 100)


def utc_date(moment: datetime) -> date:
    """The UTC date of a moment."""
    return moment.astimezone(UTC).date()
