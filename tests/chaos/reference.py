"""What the tables must hold after these events, in whatever order they came: said a second time, in a few lines."""

from collections import defaultdict
from collections.abc import Iterable
from datetime import UTC, date, datetime, timedelta
from decimal import ROUND_HALF_UP, Decimal
from itertools import pairwise
from typing import Any

from tests.chaos.load import EARNINGS_ORDER, PREFERENCES
from tests.chaos.oddities import Fields

Rows = dict[Any, tuple[Any, ...]]
"""A table: key → the other columns."""

_TEXT_LIMITS = {"display_name": 100, "gpu_type": 50, "region": 100}


def time(text: str) -> datetime:
    """A time as events carry it."""
    return datetime.fromisoformat(text)


def nodes(readings: Iterable[Fields], reports: Iterable[Fields]) -> Rows:
    """identifier → type, display_name, gpu_type, region."""
    readings = list(readings)
    known = facts(readings)
    return {
        event["identifier"]: (
            event["identifier_type"],
            *(known.get((event["identifier"], name), (None,))[0] for name in _TEXT_LIMITS),
        )
        for event in [*readings, *reports]
    }


def facts(readings: Iterable[Fields]) -> Rows:
    """(identifier, field) → value, source, observed_at: a person's word first, else the last writer's."""
    won: dict[Any, tuple[Any, ...]] = {}
    for reading in readings:
        rank = (reading["source"] == "operator", time(reading["observed_at"]), reading["source"])
        for name in (*_TEXT_LIMITS, "tokens_per_sec"):
            value = reading.get(name)
            if name in _TEXT_LIMITS and value is not None:
                value = " ".join(value.replace("\0", " ").split())[: _TEXT_LIMITS[name]]
            if value:
                key = reading["identifier"], name
                won[key] = max(won.get(key, (rank, "")), (rank, value))
    return {key: (value, source, at) for key, ((_, at, source), value) in won.items()}


def stats(readings: Iterable[Fields]) -> Rows:
    """identifier → source, fetched_at, status, jobs_day, voting_weight: the greatest observed_at + preference."""
    won: dict[str, tuple[Any, ...]] = {}
    for reading in readings:
        if "status" in reading:
            at, source = time(reading["observed_at"]), reading["source"]
            rank = at + timedelta(seconds=PREFERENCES.get(source, 0)), source
            weight = Decimal(reading["voting_weight"])
            row = (rank, source, at, reading["status"], reading["jobs_day"], weight)
            won[reading["identifier"]] = max(won.get(reading["identifier"], row), row)
    return {identifier: row[1:] for identifier, row in won.items()}


def uptime(readings: Iterable[Fields]) -> Rows:
    """(identifier, date) → healthy, seen: the five-minute slots as bits, the leftmost the first."""
    slots: dict[Any, list[int]] = defaultdict(lambda: [0, 0])
    for reading in readings:
        if "status" in reading and reading["health_probed"]:
            day, bit = _slot(time(reading["observed_at"]))
            slots[reading["identifier"], day][0] |= bit if reading["status"] == "healthy" else 0
            slots[reading["identifier"], day][1] |= bit
    return {key: tuple(bits) for key, bits in slots.items()}


def source_uptime(statuses: Iterable[Fields]) -> Rows:
    """(source, date) → the slots in which a probing source gave data."""
    slots: dict[Any, int] = defaultdict(int)
    for status in statuses:
        if status["probes_health"]:
            day, bit = _slot(time(status["data_at"]))
            slots[status["source"], day] |= bit
    return {key: (bits,) for key, bits in slots.items()}


def _slot(at: datetime) -> tuple[date, int]:
    at = at.astimezone(UTC)
    return at.date(), 1 << (287 - (at.hour * 60 + at.minute) // 5)


def ledger(reports: Iterable[Fields]) -> Rows:
    """(identifier, source, kind, period) → amount, work, reward, final, claimed, observed_at of the best version."""
    won: dict[Any, tuple[Any, ...]] = {}
    for report in reports:
        key, (final, *amounts, claimed), at = _key(report), _version(report), time(report["observed_at"])
        row = ((final, at, amounts[0]), (*amounts, final, claimed, at))
        won[key] = max(won.get(key, row), row, key=lambda each: each[0])
    return {key: row for key, (_, row) in won.items()}


def versions(reports: Iterable[Fields]) -> Rows:
    """Every distinct version of a ledger row → when it was first observed; estimates of an epoch are not kept."""
    first: dict[Any, datetime] = {}
    for report in reports:
        if report["kind"] == "epoch" and not report["final"]:
            continue
        version, at = (*_key(report), *_version(report)), time(report["observed_at"])
        first[version] = min(first.get(version, at), at)
    return {version: (at,) for version, at in first.items()}


def _key(report: Fields) -> tuple[str, str, str, int]:
    return report["identifier"], report["source"], report["kind"], int(str(report["period"]).replace("-", ""))


def _version(report: Fields) -> tuple[Any, ...]:
    amounts = (report.get(name) for name in ("amount_ngonka", "work_ngonka", "reward_ngonka"))
    return (report["final"], *(None if amount is None else int(amount) for amount in amounts), report.get("claimed"))


def settlements(reports: Iterable[Fields]) -> Rows:
    """epoch → exact, observed_at, settled_at, source: exact before guessed, then the last word."""
    won: dict[int, tuple[Any, ...]] = {}
    for report in reports:
        if report["kind"] == "epoch" and report["final"]:
            times = time(report["observed_at"]), time(report["settled_at"])
            row = (report["settled_exact"], *times, report["source"])
            won[report["period"]] = max(won.get(report["period"], row), row)
    return dict(won)


def earnings(reports: Iterable[Fields]) -> tuple[Rows, Rows]:
    """History, (identifier, date) → GNK, source, and totals, identifier → earnings_day, earnings_total.

    A node's history rests on its epochs if it has any, else on day counters, else on what a lifetime counter grew by.
    """
    reports = list(reports)
    dates = {epoch: row[2].astimezone(UTC).date() for epoch, row in settlements(reports).items()}
    by_node: dict[str, list[tuple[Any, ...]]] = defaultdict(list)
    for (node, source, kind, period), (amount, _, _, final, _, _) in ledger(reports).items():
        by_node[node].append((EARNINGS_ORDER.get(source, 100), source, period, kind, amount, final))
    history: Rows = {}
    totals: Rows = {}
    for node, own in by_node.items():
        own.sort()
        kinds = {kind for *_, kind, _, final in own if final or kind == "total"}
        basis = next((kind for kind in ("epoch", "day", "total") if kind in kinds), None)
        counter = [(period, amount) for o, s, period, kind, amount, _ in own if kind == "total" and s == _first(own)]
        days: dict[date, list[tuple[int, str]]] = defaultdict(list)
        if basis == "total":
            for (_, before), (period, after) in pairwise(counter):
                days[_date(period)].append((after - before if after >= before else after, _first(own)))
        else:
            won: dict[int, tuple[int, str]] = {}
            for _, source, period, kind, amount, final in own:
                if kind == basis and final:
                    won.setdefault(period, (amount, source))
            for period, winner in won.items():
                days[dates[period] if basis == "epoch" else _date(period)].append(winner)
        for day, parts in days.items():
            history[node, day] = (gnk(sum(amount for amount, _ in parts)), "+".join(sorted({s for _, s in parts})))
        sums = [sum(amount for amount, _ in won.values())] if basis in ("epoch", "day") else []
        sums += [counter[-1][1]] if counter else []
        newest = max(days, default=None)
        totals[node] = (newest and history[node, newest][0], gnk(max(sums)) if sums else None)
    return history, totals


def _first(own: list[tuple[Any, ...]]) -> str:
    """The preferred one of the sources that have a lifetime counter."""
    return next((source for _, source, _, kind, _, _ in own if kind == "total"), "")


def _date(period: int) -> date:
    return datetime.strptime(str(period), "%Y%m%d").replace(tzinfo=UTC).date()


def gnk(ngonka: int) -> Decimal:
    """Rounded once, half away from zero."""
    return Decimal(ngonka).scaleb(-9).quantize(Decimal("1e-8"), ROUND_HALF_UP)
