"""What the tables must hold after these events, whatever happened on the way: the rules in a few lines.

Written from the rules, not from the services; it shares no code with them. Amounts are whole ngonka until `gnk`.
A table is key → columns. Where the rules say that the first of equals stays, `max` keeps the first in the log.
"""

from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from itertools import pairwise
from typing import Any, NamedTuple, TypeVar

from services.kernel.events import EarningsReport, NodeReading, SourceStatus

Tables = dict[str, dict[Any, Any]]
T = TypeVar("T")
K = TypeVar("K", bound=Hashable)

DESCRIPTIONS = ("display_name", "gpu_type", "region")
ORDER_OF_UNKNOWN = 100


def groups(items: Iterable[T], key: Callable[[T], K]) -> dict[K, list[T]]:
    """The items by key, each group in the order of the items."""
    found: defaultdict[K, list[T]] = defaultdict(list)
    for item in items:
        found[key(item)].append(item)
    return dict(found)


# Readings


def cache_tables(readings: Sequence[NodeReading], head_start_seconds: Mapping[str, int]) -> Tables:
    """What readings leave behind, where these sources have these preferences."""

    def rank(reading: NodeReading) -> tuple[datetime, str]:
        return reading.observed_at + timedelta(seconds=head_start_seconds.get(reading.source, 0)), reading.source

    def last_word(reading: NodeReading) -> tuple[bool, datetime, str]:
        return reading.source == "operator", reading.observed_at, reading.source

    stats, facts, uptime = dict[Any, Any](), dict[Any, Any](), dict[Any, Any]()
    for node, own in groups(readings, lambda reading: reading.identifier).items():
        with_status = [reading for reading in own if reading.status is not None]
        if with_status:
            won = max(with_status, key=rank)
            stats[node] = (
                *(won.source, won.observed_at),
                *(won.status, won.jobs_day, won.active_model, won.voting_weight),
            )
        for field in (*DESCRIPTIONS, "tokens_per_sec"):
            carrying = [reading for reading in own if getattr(reading, field) is not None]
            if carrying:
                said = max(carrying, key=last_word)
                facts[node, field] = str(getattr(said, field)), said.source, said.observed_at
        for reading in with_status:
            if reading.health_probed:
                slot = node, five_minutes(reading.observed_at)
                uptime[slot] = uptime.get(slot, False) or reading.status == "healthy"
    described = {(node, field): value for (node, field), (value, *_) in facts.items() if field in DESCRIPTIONS}
    tokens = {node: Decimal(value) for (node, field), (value, *_) in facts.items() if field == "tokens_per_sec"}
    return {"stats": stats, "facts": facts, "uptime": uptime, "described": described, "tokens": tokens}


def source_tables(statuses: Sequence[SourceStatus]) -> Tables:
    """What sources say of themselves: the newest status of each, and when the probing ones gave data."""
    newest = {
        source: max(own, key=lambda status: status.reported_at)
        for source, own in groups(statuses, lambda status: status.source).items()
    }
    return {
        "sources": {
            source: (status.preference_seconds, status.earnings_order, status.reported_at, status.data_at)
            for source, status in newest.items()
        },
        "source_uptime": {
            (status.source, five_minutes(status.data_at)): True
            for status in statuses
            if status.probes_health and status.data_at is not None
        },
        "epoch_totals": {
            key: max((status.reported_at, status.total_ngonka) for status in own)
            for key, own in groups(
                [status for status in statuses if status.total_ngonka is not None], lambda s: (s.source, s.total_epoch)
            ).items()
        },
    }


def five_minutes(moment: datetime) -> datetime:
    """The beginning of the UTC slot that holds the moment."""
    moment = moment.astimezone(UTC)
    return moment.replace(minute=moment.minute // 5 * 5, second=0, microsecond=0)


def node_tables(events: Iterable[NodeReading | EarningsReport]) -> Tables:
    """Every node is known by the type under which it was heard of first."""
    return {"nodes": {node: own[0].identifier_type for node, own in groups(events, lambda e: e.identifier).items()}}


# Earnings


class Fact(NamedTuple):
    """A row of the ledger, as the history needs it."""

    source: str
    kind: str
    period: int
    amount: int
    final: bool


def earnings_tables(reports: Sequence[EarningsReport], order: Mapping[str, int]) -> Tables:
    """What reports leave behind, where these sources come in this order."""
    of_epochs = [r for r in reports if r.kind == "epoch" and r.final]
    settled = {
        epoch: max((r.settled_exact, r.observed_at, said(r.settled_at), r.source) for r in own)
        for epoch, own in groups(of_epochs, lambda r: r.period_number).items()
    }
    ledger = {key: max(own, key=report_rank) for key, own in groups(reports, ledger_key).items()}
    statements = [r for r in reports if r.final or r.kind != "epoch"]  # not estimates of the running epoch
    versions = {
        version: min(r.observed_at for r in own)
        for version, own in groups(statements, lambda r: (*ledger_key(r), *content(r))).items()
    }
    history, totals, bases = dict[Any, Any](), dict[Any, Any](), dict[Any, Any]()
    for node, rows in groups(ledger.values(), lambda r: r.identifier).items():
        facts = [Fact(r.source, r.kind, r.period_number, r.amount, r.final) for r in rows]
        # The preferred source comes first, and what comes first wins its period.
        facts.sort(key=lambda fact: (order.get(fact.source, ORDER_OF_UNKNOWN), fact.source, fact.period))
        counters = [fact for fact in facts if fact.kind == "total"]
        counters = [fact for fact in counters if fact.source == counters[0].source]
        epochs, days = (
            {fact.period: fact for fact in reversed(facts) if fact.final and fact.kind == kind}
            for kind in ("epoch", "day")
        )
        if epochs:
            bases[node] = "epoch"
            parts = [(settled[epoch][2].astimezone(UTC).date(), f.amount, f.source) for epoch, f in epochs.items()]
        elif days:
            bases[node] = "day"
            parts = [(day(period), fact.amount, fact.source) for period, fact in days.items()]
        else:  # what a lifetime counter grew by; a smaller value means that it started again from zero
            bases[node] = "total" if counters else None
            parts = [
                (day(after.period), after.amount - before.amount * (after.amount >= before.amount), after.source)
                for before, after in pairwise(counters)
            ]
        for at, earned in groups(parts, lambda part: part[0]).items():
            history[node, at] = gnk(sum(part[1] for part in earned)), "+".join(sorted({part[2] for part in earned}))
        sums = [sum(part[1] for part in parts)] if epochs or days else []
        sums += [counters[-1].amount] if counters else []
        newest = max((at for at, _, _ in parts), default=None)
        totals[node] = (
            None if newest is None else history[node, newest][0],
            gnk(max(sums)) if sums else None,
        )
    return {
        "settlements": settled,
        "ledger": {key: (*content(won), won.method, won.observed_at) for key, won in ledger.items()},
        "versions": versions,
        "history": history,
        "totals": totals,
        "bases": bases,
    }


def ledger_key(report: EarningsReport) -> tuple[str, str, str, int]:
    """Node, source, kind and period identify a row of the ledger."""
    return report.identifier, report.source, report.kind, report.period_number


def content(report: EarningsReport) -> tuple[bool, int, int | None, int | None, bool | None]:
    """What the report says: final, amount, work, reward, claimed."""
    work, reward = (None if part is None else int(part) for part in (report.work_ngonka, report.reward_ngonka))
    return report.final, report.amount, work, reward, report.claimed


def report_rank(report: EarningsReport) -> tuple[Any, ...]:
    """Final first, then the later observation, then the amount; then whatever differs, and the unknown loses."""
    final, amount, *rest = content(report)
    return final, report.observed_at, amount, *((part is not None, part or 0) for part in rest), report.method or ""


def day(period: int) -> date:
    """The date that a number like 20260301 is."""
    return date.fromisoformat(str(period))


def gnk(ngonka: int) -> Decimal:
    """GNK to eight places; a five in the ninth rounds away from zero."""
    units = (abs(ngonka) + 5) // 10
    return Decimal(units if ngonka >= 0 else -units).scaleb(-8)


def said(value: T | None) -> T:
    """The value, which the contract of the event promises."""
    assert value is not None
    return value
