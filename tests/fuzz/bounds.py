"""What an accepted event has to satisfy, said a second time: by the columns, not by the decoder's rules."""

import re
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

from services.kernel.events import EarningsReport, Event, NodeReading, RefreshRequest, SourceStatus

INT4, INT8 = 2**31 - 1, 2**63 - 1
AMOUNT = 10**18
FUTURE = timedelta(minutes=5)

Check = Callable[[Any], bool]


def text(limit: int) -> Check:
    """varchar(limit), or NULL where there is nothing to say."""

    def check(value: Any) -> bool:
        return value is None or (
            isinstance(value, str) and 0 < len(value) <= limit and "\x00" not in value and bool(value.encode())
        )

    return check


def integer(limit: int) -> Check:
    """integer or bigint, not negative."""
    return lambda value: value is None or (type(value) is int and 0 <= value <= limit)


def numeric(precision: int, scale: int) -> Check:
    """numeric(precision, scale), not negative."""

    def check(value: Any) -> bool:
        return value is None or (
            isinstance(value, Decimal)
            and value.is_finite()
            and value.as_tuple().exponent == -scale
            and 0 <= value < Decimal(10) ** (precision - scale)
        )

    return check


def one_of(*names: str) -> Check:
    """A column with a CHECK of these words."""
    return lambda value: value in names


def amount(value: Any) -> bool:
    """numeric(38, 0) within the bound of an amount."""
    return value is None or (type(value) is int and abs(value) <= AMOUNT)


def boolean(value: Any) -> bool:
    """boolean, NULL for unknown."""
    return value is None or isinstance(value, bool)


def identifier(value: Any) -> bool:
    """nodes.identifier: varchar(255), one word."""
    return text(255)(value) and value is not None and not re.search(r"[\x00-\x20\x7f]", value)


def source(value: Any) -> bool:
    """varchar(50) of a source's name."""
    return isinstance(value, str) and re.fullmatch("[a-z0-9][a-z0-9_.-]{0,49}", value) is not None


def anything(_: Any) -> bool:
    """No column takes it."""
    return True


_TYPE = one_of("wallet", "node_id", "operator", "validator")
_COLUMNS: dict[type[Event], dict[str, Check]] = {
    NodeReading: {
        "identifier": identifier,
        "identifier_type": _TYPE,
        "source": source,
        "status": lambda value: value in {None, "healthy", "unhealthy", "jailed", "offline"},
        "health_probed": boolean,
        "jobs_day": integer(INT4),
        "active_model": text(255),
        "voting_weight": numeric(20, 8),
        "epoch": integer(INT4),
        "height": integer(INT8),
        "tokens_per_sec": numeric(10, 2),
        "display_name": text(100),
        "gpu_type": text(50),
        "region": text(100),
    },
    EarningsReport: {
        "identifier": identifier,
        "identifier_type": _TYPE,
        "source": source,
        "kind": one_of("epoch", "day", "total"),
        "period": lambda value: isinstance(value, (int, str)),
        "period_number": integer(INT4),
        "amount_ngonka": lambda value: value is not None and amount(value),
        "work_ngonka": amount,
        "reward_ngonka": amount,
        "settled_exact": boolean,
        "final": boolean,
        "claimed": boolean,
    },
    RefreshRequest: {"source": source, "requested_by": anything, "epoch": integer(INT4)},
    SourceStatus: {
        "source": source,
        "kind": text(50),
        "preference_seconds": integer(INT4),
        "earnings_order": integer(INT4),
        "probes_health": boolean,
        "poll_interval_seconds": integer(INT4),
        "last_error": text(500),
        "total_epoch": integer(INT4),
        "total_ngonka": lambda value: value is None or (amount(value) and value > 0),
        "epoch": integer(INT4),
        "height": integer(INT8),
    },
}
_TIMES: dict[type[Event], tuple[str, ...]] = {
    NodeReading: ("observed_at",),
    EarningsReport: ("observed_at", "settled_at"),
    RefreshRequest: ("requested_at",),
    SourceStatus: ("reported_at", "last_attempt_at", "last_success_at", "last_error_at", "data_at"),
}


def violations(event: Event, appended_ms: int) -> list[str]:
    """What of the event fits no column, for a record appended that many milliseconds after 1970."""
    found = [
        f"{name} = {getattr(event, name)!r:.80}"
        for name, check in _COLUMNS[type(event)].items()
        if not check(getattr(event, name))
    ]
    for name in _TIMES[type(event)]:
        found += _time_violations(name, getattr(event, name), appended_ms)
    if isinstance(event, EarningsReport):
        found += _report_violations(event, appended_ms)
    return found


def _time_violations(name: str, value: datetime | None, appended_ms: int) -> list[str]:
    if value is None:
        return []
    try:
        moment = value.astimezone(UTC)  # as PostgreSQL's driver and the UTC date of a slot need it
    except OverflowError:
        return [f"{name} = {value} has no UTC"]
    ahead = moment - datetime(1970, 1, 1, tzinfo=UTC) - FUTURE > _milliseconds(appended_ms)
    return [f"{name} = {value}"] if moment.year < 2000 or ahead else []


def _report_violations(report: EarningsReport, appended_ms: int) -> list[str]:
    found = []
    if report.kind == "epoch":
        if type(report.period) is not int:
            found.append(f"period = {report.period!r} is no epoch")
        if report.final and report.settled_at is None:
            found.append("a final epoch without settled_at")
    else:
        day = date.fromisoformat(str(report.period))
        if day.isoformat() != report.period or report.period_number != day.year * 10_000 + day.month * 100 + day.day:
            found.append(f"period = {report.period!r} in another form")
        ahead = datetime(day.year, day.month, day.day) - datetime(1970, 1, 1) - FUTURE  # noqa: DTZ001 - both naive
        if day.year < 2000 or ahead > _milliseconds(appended_ms):
            found.append(f"period = {report.period!r}")
    split = report.work_ngonka, report.reward_ngonka
    if None not in split and report.amount != sum(int(part or 0) for part in split):
        found.append("the split does not add up")
    return found


def _milliseconds(milliseconds: int) -> timedelta:
    """That many milliseconds, or as many as there can be."""
    return timedelta(milliseconds=max(-(10**16), min(milliseconds, 10**16)))
