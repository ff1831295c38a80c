"""Rows as the models that are answered."""

from collections.abc import Iterable, Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Any, Final

from services.api.changes import Row
from services.api.schemas import (
    DayAmount,
    DayEarnings,
    EpochEarnings,
    EpochReport,
    Estimate,
    FleetPeriod,
    Node,
    NodeDetail,
    PeriodEarnings,
    TimelineDay,
    Trend,
    Uptime,
    Window,
)

SLOTS_PER_DAY: Final = 288


def _reading(row: Row, ttl: timedelta) -> dict[str, Any]:
    """The fields of a node, from its row."""
    now: datetime = row["as_of"]
    fetched_at: datetime | None = row["fetched_at"]
    age = None if fetched_at is None else max(timedelta(), now - fetched_at)
    day: date | None = row["earnings_date"]
    paid = row["earnings_day"]
    return {
        "identifier": row["identifier"],
        "identifier_type": row["identifier_type"],
        "display_name": row["display_name"],
        "gpu_type": row["gpu_type"],
        "region": row["region"],
        "status": row["status"],
        "active_model": row["active_model"],
        "voting_weight": row["voting_weight"],
        "jobs_day": row["jobs_day"],
        "tokens_per_sec": row["tokens_per_sec"],
        "uptime_percent": row["uptime_percent"],
        "earnings_day": None
        if day is None or paid is None
        else DayEarnings(date=day, gnk=paid, final=day < now.astimezone(UTC).date()),
        "earnings_total_gnk": row["earnings_total"],
        "source": row["source"],
        "fetched_at": fetched_at,
        "age_seconds": None if age is None else int(age.total_seconds()),
        "stale": age is None or age > ttl,
    }


def node(row: Row, ttl: timedelta) -> Node:
    """A node of a page."""
    return Node(**_reading(row, ttl))


def node_detail(
    row: Row, ttl: timedelta, *, windows: Iterable[Row], uptime: Iterable[Row], estimates: Iterable[Row]
) -> NodeDetail:
    """A node with all that is known of it."""
    return NodeDetail(
        **_reading(row, ttl),
        first_seen=row["created_at"],
        windows=[window(each) for each in windows],
        uptime=[
            Uptime(
                span=each["span"],
                percent=each["uptime_percent"],
                healthy_slots=each["healthy_slots"],
                reachable_slots=each["reachable_slots"],
            )
            for each in uptime
        ],
        provisional=[estimate(each) for each in estimates],
        ttl_seconds=int(ttl.total_seconds()),
        as_of=row["as_of"],
    )


def _window(row: Row) -> dict[str, Any]:
    return {
        "span": row["span"],
        "since": row["since"],
        "until": row["until"],
        "days": row["days"],
        "gnk": row["earnings_gnk"],
        "average_gnk": row["average_gnk"],
        "before_gnk": row["before_gnk"],
        "change_gnk": row["change_gnk"],
        "change_percent": row["change_percent"],
        "best": None if row["best_gnk"] is None else DayAmount(date=row["best_date"], gnk=row["best_gnk"]),
        "worst": None if row["worst_gnk"] is None else DayAmount(date=row["worst_date"], gnk=row["worst_gnk"]),
    }


def window(row: Row) -> Window:
    """A window of earnings."""
    return Window(**_window(row))


def trend(row: Row) -> Trend:
    """A window of one key."""
    return Trend(key=row["key"], **_window(row))


def estimate(row: Row) -> Estimate:
    """What the running epoch may bring."""
    return Estimate(
        epoch=row["epoch"],
        source=row["source"],
        gnk=row["estimate_gnk"],
        method=row["method"],
        observed_at=row["observed_at"],
    )


def last_day(starts: date, group: str) -> date:
    """The last date of the day, week or month that starts so."""
    if group == "day":
        return starts
    if group == "week":
        return starts + timedelta(days=6)
    return (starts.replace(day=28) + timedelta(days=4)).replace(day=1) - timedelta(days=1)


def period(row: Row, group: str, today: date) -> PeriodEarnings:
    """A day, week or month; `today` in the time zone of its dates."""
    return PeriodEarnings(
        starts=row["starts"],
        gnk=row["earnings_gnk"],
        days=row["days"],
        final=last_day(row["starts"], group) < today,
        source=row["source"],
    )


def fleet_period(row: Row, group: str, today: date) -> FleetPeriod:
    """A period of one key."""
    return FleetPeriod(
        key=row["key"],
        starts=row["starts"],
        gnk=row["earnings_gnk"],
        days=row["days"],
        final=last_day(row["starts"], group) < today,
    )


def epoch(row: Row, reports: Sequence[Row]) -> EpochEarnings:
    """An epoch, and what every source says of it."""
    return EpochEarnings(
        epoch=row["epoch"],
        date=row["date"],
        settled_at=row["settled_at"],
        settled_exact=row["exact"],
        gnk=row["amount_gnk"],
        ngonka=row["amount_ngonka"],
        work_ngonka=row["work_ngonka"],
        reward_ngonka=row["reward_ngonka"],
        claimed=row["claimed"],
        source=row["source"],
        restated=row["restated"],
        reports=[
            EpochReport(
                source=each["source"],
                ngonka=each["amount_ngonka"],
                final=each["final"],
                counts=each["source"] == row["source"],
                observed_at=each["observed_at"],
                versions=each["versions"],
            )
            for each in reports
        ],
    )


def timeline_day(row: Row) -> TimelineDay:
    """A date's slots as letters."""
    healthy, seen, reachable = (_bits(row[name]) for name in ("healthy", "seen", "reachable"))
    return TimelineDay(
        date=row["date"],
        slots="".join(
            "-" if r == "0" else "h" if h == "1" else "u" if s == "1" else "a"
            for h, s, r in zip(healthy, seen, reachable, strict=True)
        ),
    )


def _bits(value: Any) -> str:
    """A day's bits (asyncpg's BitString, or None: none set) as 288 digits."""
    number = 0 if value is None else int.from_bytes(value.bytes, "big")
    return f"{number:0{SLOTS_PER_DAY}b}"
